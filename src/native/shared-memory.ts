import { sharedUnit } from "./addon.ts";

/** What native/nan exports. */
export interface SharedUnit {
  /** The same bytes as a SharedArrayBuffer. */
  share(buffer: ArrayBuffer): SharedArrayBuffer;
}

/**
 * Memory of this thread, seen by others: post `buffer` to a worker.
 *
 * With the optional native unit it is the memory itself. Without, it is a copy in memory of its own: what others are to
 * see must be brought up to date with refresh(), and what they write is not seen here.
 */
export interface SharedMemory {
  readonly buffer: SharedArrayBuffer;
  /** True if `buffer` is the memory itself. */
  readonly live: boolean;
  /** Brings a range of the copy up to date; nothing to do where the memory is live. */
  refresh(offset: number, length: number): void;
}

class LiveMemory implements SharedMemory {
  readonly live = true;
  constructor(readonly buffer: SharedArrayBuffer) {}
  refresh(): void {}
}

class CopiedMemory implements SharedMemory {
  readonly live = false;
  readonly buffer: SharedArrayBuffer;
  private readonly source: Uint8Array;
  private readonly copy: Uint8Array;

  constructor(buffer: ArrayBuffer) {
    // Pages that no refresh() touches take no memory.
    this.buffer = new SharedArrayBuffer(buffer.byteLength);
    this.source = new Uint8Array(buffer);
    this.copy = new Uint8Array(this.buffer);
  }

  /** @throws RangeError when the range is not within the memory */
  refresh(offset: number, length: number): void {
    if (offset < 0 || length < 0 || offset + length > this.source.length) throw new RangeError("not within the memory");
    this.copy.set(this.source.subarray(offset, offset + length), offset);
  }
}

/**
 * Shares a buffer, also one that native code mapped (the arena with its packet rings). The thread that made the buffer
 * must be the last to end.
 * @param unit null: do without the native unit
 */
export function shareMemory(buffer: ArrayBuffer, unit: SharedUnit | null = sharedUnit()): SharedMemory {
  return unit === null ? new CopiedMemory(buffer) : new LiveMemory(unit.share(buffer));
}
