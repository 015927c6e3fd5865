import type { MessageWriter } from "../netlink/writer.ts";

/** Writes a u64 of nanoseconds: more than a number holds exactly, so in two halves. @param ms milliseconds, rounded down */
export function putNanoseconds(writer: MessageWriter, type: number, ms: number): void {
  const whole = Math.floor(ms);
  const upper = Math.floor(whole / 0x10_0000) * 1_000_000;
  const low = (upper % 0x1000) * 0x10_0000 + (whole % 0x10_0000) * 1_000_000;
  const at = writer.attr(type, 8);
  writer.view.setUint32(at, low % 0x1_0000_0000, true);
  writer.view.setUint32(at + 4, Math.floor(upper / 0x1000) + Math.floor(low / 0x1_0000_0000), true);
}
