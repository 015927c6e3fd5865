import { ipv4Text, macText } from "../../net/address.ts";

/** A frame as a few words of text: `ICMP echo request 10.1.1.1 → 10.1.1.2`. */
export function describeFrame(frame: Uint8Array): string {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  if (frame.length < 34) return `${frame.length} bytes`;
  const type = view.getUint16(12);
  if (type === 0x0806 && frame.length >= 42) {
    const operation = view.getUint16(20);
    const sender = ipv4Text(frame, 28);
    const target = ipv4Text(frame, 38);
    return operation === 1 ? `ARP who has ${target}? asks ${sender}` : `ARP ${sender} is at ${macText(frame, 22)}`;
  }
  if (type !== 0x0800) return type === 0x86dd ? "IPv6" : `ethertype 0x${type.toString(16)}`;
  const protocol = frame[23];
  const at = 14 + (frame[14] & 0xf) * 4;
  const src = ipv4Text(frame, 26);
  const dst = ipv4Text(frame, 30);
  if (frame.length < at + 8) return `IPv4 ${src} → ${dst}`;
  switch (protocol) {
    case 1:
      return `ICMP ${ICMP[frame[at]] ?? `type ${frame[at]}`} ${src} → ${dst}`;
    case 6:
      return `TCP ${flags(frame[at + 13])} ${src}:${view.getUint16(at)} → ${dst}:${view.getUint16(at + 2)}`;
    case 17:
      return `UDP ${src}:${view.getUint16(at)} → ${dst}:${view.getUint16(at + 2)}`;
    default:
      return `IPv4 protocol ${protocol} ${src} → ${dst}`;
  }
}

const ICMP: Record<number, string> = { 0: "echo reply", 3: "unreachable", 8: "echo request" };
const TCP_FLAGS = ["FIN", "SYN", "RST", "PSH", "ACK"];

function flags(bits: number): string {
  return TCP_FLAGS.filter((_, bit) => (bits >> bit) & 1).join("+");
}
