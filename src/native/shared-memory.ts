/**
 * Memory of this thread for worker threads: a thread that must not disturb forwarding, such as a viewer, can read a packet ring
 * or a table through a SharedArrayBuffer. Node-API cannot make one over memory that exists; native/nan can, where it was built.
 */
import { loadNative } from "./addon.ts";

/** The exports of native/nan. */
interface SharedUnit {
  /** The same bytes as a SharedArrayBuffer, not a copy. @throws TypeError if `buffer` is no ArrayBuffer */
  share(buffer: ArrayBuffer): SharedArrayBuffer;
}

let loaded: SharedUnit | null | undefined;

/** The optional native unit (or the one that NOKMOD_SHARED names); null where it could not be built or loaded. @internal */
export function sharedUnit(): SharedUnit | null {
  if (loaded === undefined) {
    try {
      loaded = loadNative("nokmod_shared.node", process.env.NOKMOD_SHARED) as SharedUnit;
    } catch (error) {
      const { code } = error as { code?: unknown };
      if (code !== "MODULE_NOT_FOUND" && code !== "ERR_DLOPEN_FAILED") throw error;
      loaded = null;
    }
  }
  return loaded;
}

/**
 * Memory of this thread as a SharedArrayBuffer, to be posted to worker threads.
 *
 * With the optional native unit it is the memory itself: both sides see what the other writes. Without it is a copy: this
 * thread brings ranges of it up to date with refresh(), and does not see what others write.
 */
export interface SharedMemory {
  readonly buffer: SharedArrayBuffer;
  /** True if `buffer` is the memory itself. */
  readonly live: boolean;
  /**
   * Copies `length` bytes at `offset` to the copy; does nothing where the memory is live.
   * @throws RangeError ERR_OUT_OF_RANGE when the range is not within the memory (only for a copy)
   */
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
    // The kernel allocates pages when they are first written: those that no refresh() touches take no memory.
    this.buffer = new SharedArrayBuffer(buffer.byteLength);
    this.source = new Uint8Array(buffer);
    this.copy = new Uint8Array(this.buffer);
  }

  /** @throws RangeError ERR_OUT_OF_RANGE when the range is not within the memory */
  refresh(offset: number, length: number): void {
    if (offset < 0 || length < 0 || offset + length > this.source.length) {
      const message = `bytes ${offset} to ${offset + length} are not within the memory`;
      throw Object.assign(new RangeError(message), { code: "ERR_OUT_OF_RANGE" });
    }
    this.copy.set(this.source.subarray(offset, offset + length), offset);
  }
}

/**
 * Shares a buffer, also one that native code mapped (the arena with its packet rings). The memory lives as long as any thread
 * has a view of it, with one exception: when the thread that made the buffer ends, so does its mapping. That thread must be
 * the last to end.
 * @param unit null: make a copy
 */
export function shareMemory(buffer: ArrayBuffer, unit: SharedUnit | null = sharedUnit()): SharedMemory {
  return unit === null ? new CopiedMemory(buffer) : new LiveMemory(unit.share(buffer));
}
