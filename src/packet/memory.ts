import { NokmodError } from "../core/errors.ts";

/**
 * All packet bytes live in one ArrayBuffer, the arena, so that a packet is an offset and one DataView reads every frame:
 * no view object is made per packet. The native side maps packet rings into the same address range
 * (src/port/native/ports.ts).
 *
 * ```
 * 0            SCRATCH_BYTES          + POOL                        byteLength
 * | scratch    | pool of buffers      | packet rings (native) …     |
 * ```
 */
export class PacketMemory {
  readonly view: DataView;
  readonly bytes: Uint8Array;
  /** First byte after scratch and pool: where native code may map rings. */
  readonly ringsOffset: number;
  private scratchTop = 0;
  private readonly freeSmall: Int32Array;
  private readonly freeLarge: Int32Array;
  private smallTop: number;
  private largeTop: number;
  private readonly largeBase: number;

  /** @param buffer at least SCRATCH_BYTES + POOL_BYTES long @throws NokmodError ERR_ARENA_SIZE where it is not */
  constructor(readonly buffer: ArrayBufferLike = new ArrayBuffer(SCRATCH_BYTES + POOL_BYTES)) {
    if (buffer.byteLength < SCRATCH_BYTES + POOL_BYTES)
      throw new NokmodError("ERR_ARENA_SIZE", `a packet arena of ${buffer.byteLength} bytes is too small`);
    this.view = new DataView(buffer);
    this.bytes = new Uint8Array(buffer);
    this.largeBase = SCRATCH_BYTES + SMALL_COUNT * SMALL_BYTES;
    this.ringsOffset = SCRATCH_BYTES + POOL_BYTES;
    this.freeSmall = new Int32Array(SMALL_COUNT);
    this.freeLarge = new Int32Array(LARGE_COUNT);
    for (let i = 0; i < SMALL_COUNT; i++) this.freeSmall[i] = SCRATCH_BYTES + i * SMALL_BYTES;
    for (let i = 0; i < LARGE_COUNT; i++) this.freeLarge[i] = this.largeBase + i * LARGE_BYTES;
    this.smallTop = SMALL_COUNT;
    this.largeTop = LARGE_COUNT;
  }

  /**
   * Room that lasts until the current batch has been transmitted (resetScratch). Returns the offset, or -1 when the
   * batch has used it all up: the packet is then dropped as for ENOMEM.
   */
  scratch(size: number): number {
    const offset = this.scratchTop;
    const top = (offset + size + 63) & ~63;
    if (top > SCRATCH_BYTES) return -1;
    this.scratchTop = top;
    return offset;
  }

  /** Gives all scratch room back. Called once the frames queued for transmission have left. */
  resetScratch(): void {
    this.scratchTop = 0;
  }

  /** A buffer that lasts until free(): queued fragments, deferred packets. Returns -1 when none is left or size > 68 KiB. */
  alloc(size: number): number {
    if (size <= SMALL_BYTES && this.smallTop > 0) return this.freeSmall[--this.smallTop];
    if (size <= LARGE_BYTES && this.largeTop > 0) return this.freeLarge[--this.largeTop];
    return -1;
  }

  /** Gives a buffer of alloc() back. */
  free(offset: number): void {
    if (offset >= this.largeBase) this.freeLarge[this.largeTop++] = offset;
    else this.freeSmall[this.smallTop++] = offset;
  }
}

const SMALL_BYTES = 2048;
const SMALL_COUNT = 8192;
const LARGE_BYTES = 69632;
const LARGE_COUNT = 128;
const SCRATCH_BYTES = 32 << 20;
const POOL_BYTES = SMALL_COUNT * SMALL_BYTES + LARGE_COUNT * LARGE_BYTES;

/** Bytes kept free before a frame so that tags and labels can be pushed in place. */
export const HEADROOM = 128;
