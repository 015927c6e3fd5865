import { native } from "./addon.ts";

/** native/src/kept_memory.cc, class KeptMemory. */
interface NativeKeptMemory {
  readonly buffer: ArrayBuffer;
  readonly length: number;
  extend(bytes: number): number;
  close(remove: boolean): void;
}

interface KeptMemoryAddon {
  readonly KeptMemory: new (path: string, size: number) => NativeKeptMemory;
}

/**
 * Maps a file into memory: what is written there is in the file also when the process is killed. The file is made if there is none
 * (mode 0600), and locked.
 * @param size bytes of addresses, a multiple of the page size; at least the file's
 * @throws Error with `code`: ENOSPC, EACCES, ELOOP (a symlink), EWOULDBLOCK (another process has it), EPERM (another user's),
 * EINVAL (no regular file), EFBIG …; NokmodError ERR_NATIVE_MISSING
 */
export function openKeptMemory(path: string, size: number): NativeKeptMemory {
  const { KeptMemory } = native<KeptMemoryAddon>();
  return new KeptMemory(path, size);
}
