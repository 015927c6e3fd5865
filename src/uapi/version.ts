/** linux/version.h */

/** A kernel version as one number that can be compared: KERNEL_VERSION() with patch level 0. */
export function kernelVersion(major: number, minor: number): number {
  return (major << 16) | (minor << 8);
}
