import { expect, it } from "vitest";
import {
  ethernet,
  fragmentIpv4,
  frame,
  hex,
  icmpv6,
  ip6,
  ipv4,
  ipv6,
  sctp,
  sctpChunk,
  tcp,
  udp,
  vlan,
} from "../support/frames.ts";

it("builds a tagged UDP datagram with right checksums", () => {
  // Bytes as scapy builds them.
  expect(hex(frame(ethernet(), vlan({ vid: 5 }), ipv4(), udp(), "hi"))).toBe(
    "02000000000b02000000000a810000050800" + "4500001e00000000401166cd0a0000010a000002" + "03e807d0000a77b66869",
  );
});
it("adds up TCP and ICMPv6 checksums over the pseudo-header", () => {
  const words = (bytes: Uint8Array): number => {
    let sum = 0;
    for (let i = 0; i < bytes.length; i += 2) sum += (bytes[i] << 8) | (bytes[i + 1] ?? 0);
    return sum % 0xffff;
  };
  const segment = frame(ethernet(), ipv4(), tcp(), "odd").subarray(26);
  expect((words(segment) + 6 + segment.length - 8) % 0xffff).toBe(0);
  const echo = frame(ethernet(), ipv6(), icmpv6(), "abcd").subarray(22);
  expect((words(echo) + 58 + echo.length - 32) % 0xffff).toBe(0);
});
it("knows the SCTP CRC", () => {
  // RFC 3720 B.4: 32 bytes of zero give aa 36 91 8a on the wire.
  expect(hex(frame(sctp({ src: 0, dst: 0 }), new Uint8Array(20))).slice(16, 24)).toBe("aa36918a");
  expect(sctpChunk(3, 0, new Uint8Array(1)).length).toBe(8);
});
it("cuts IPv4 into fragments", () => {
  const pieces = fragmentIpv4(frame(ethernet(), ipv4(), udp(), "x".repeat(20)), 16);
  expect(pieces.map((piece) => hex(piece.subarray(20, 22)))).toEqual(["2000", "0002"]);
});
it("reads IPv6 addresses", () => {
  expect(hex(ip6("::1"))).toBe("00000000000000000000000000000001");
  expect(hex(ip6("fd00::"))).toBe("fd000000000000000000000000000000");
});
