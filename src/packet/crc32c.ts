/**
 * CRC32c (Castagnoli, reflected polynomial 0x82f63b78; RFC 9260 appendix A), eight bytes a step ("slicing by 8").
 */

const POLYNOMIAL = 0x82f63b78;

/** Eight tables of 256: entry k*256 + b is the register after byte b and k zero bytes. */
const table = /* @__PURE__ */ makeTable();

function makeTable(): Int32Array {
  const result = new Int32Array(8 * 256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
    result[byte] = crc;
  }
  for (let i = 256; i < result.length; i++) {
    const previous = result[i - 256];
    result[i] = (previous >>> 8) ^ result[previous & 0xff];
  }
  return result;
}

/**
 * The register after `len` bytes at `off`. Start with -1; the CRC itself is the complement of the final register.
 * @param crc register so far
 */
export function crc32c(view: DataView, off: number, len: number, crc: number): number {
  const end = off + len;
  let i = off;
  for (const stop = end - 7; i < stop; i += 8) {
    const a = view.getInt32(i, true) ^ crc;
    const b = view.getInt32(i + 4, true);
    crc =
      table[0x700 + (a & 0xff)] ^
      table[0x600 + ((a >>> 8) & 0xff)] ^
      table[0x500 + ((a >>> 16) & 0xff)] ^
      table[0x400 + (a >>> 24)] ^
      table[0x300 + (b & 0xff)] ^
      table[0x200 + ((b >>> 8) & 0xff)] ^
      table[0x100 + ((b >>> 16) & 0xff)] ^
      table[b >>> 24];
  }
  for (; i < end; i++) crc = (crc >>> 8) ^ table[(crc ^ view.getUint8(i)) & 0xff];
  return crc;
}

/** The register after one zero byte. */
export function crc32cZero(crc: number): number {
  return (crc >>> 8) ^ table[crc & 0xff];
}
