import { isIPv4, isIPv6 } from "node:net";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  bytesToWords,
  ipv4Text,
  ipv6HexText,
  ipv6LongText,
  ipv6Text,
  kernelIpv6Text,
  macText,
  parseIpv4,
  parseIpv6,
  parseMac,
  wordsToBytes,
} from "../../src/net/address.ts";

const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
/** Addresses with runs of zero groups, which random bytes hardly ever have. */
const ipv6 = fc
  .array(fc.oneof({ weight: 2, arbitrary: fc.constant(0) }, fc.integer({ min: 0, max: 0xffff })), {
    minLength: 8,
    maxLength: 8,
  })
  .map((groups) => Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 0xff])));

describe("addresses: text, bytes and words", () => {
  it("IPv4: bytes come back from their text, which node takes for IPv4", () => {
    fc.assert(
      fc.property(bytes(4), (address) => {
        const text = ipv4Text(address);
        expect(isIPv4(text)).toBe(true);
        expect(parseIpv4(text)).toEqual(address);
      }),
    );
  });

  it("Ethernet: bytes come back from their text", () => {
    fc.assert(
      fc.property(bytes(6), (address) => {
        expect(parseMac(macText(address))).toEqual(address);
      }),
    );
  });

  it("IPv6: bytes come back from each of their texts", () => {
    fc.assert(
      fc.property(fc.oneof(ipv6, bytes(16)), (address) => {
        for (const text of [ipv6Text(address), kernelIpv6Text(address), ipv6LongText(address), ipv6HexText(address)]) {
          expect(isIPv6(text)).toBe(true);
          expect(parseIpv6(text)).toEqual(address);
        }
      }),
    );
  });

  it("IPv6: RFC 5952, as the URL standard (the same rules but for the dotted form) writes it", () => {
    fc.assert(
      fc.property(ipv6, (address) => {
        expect(`[${ipv6HexText(address)}]`).toBe(new URL(`http://[${ipv6LongText(address)}]/`).hostname);
      }),
    );
  });

  it("words hold the bytes in network order, at any place", () => {
    fc.assert(
      fc.property(fc.oneof(bytes(4), bytes(16)), fc.nat(3), (address, at) => {
        const words = new Int32Array(8);
        bytesToWords(address, words, at);
        expect(new DataView(address.buffer, address.byteOffset).getInt32(0)).toBe(words[at]);
        expect(wordsToBytes(words, at, address.length / 4)).toEqual(address);
      }),
    );
  });

  it("reads what is in the middle of other bytes", () => {
    const frame = Uint8Array.from([9, 10, 0, 0, 1, 2, 3, 4, 5]);
    expect(ipv4Text(frame, 1)).toBe("10.0.0.1");
    expect(macText(frame, 3)).toBe("00:01:02:03:04:05");
  });

  it.each([
    ["", "1.2.3", "1.2.3.4.5", "256.1.1.1", "1.2.3.4 ", "a.b.c.d", "1..2.3"].map((text) => [parseIpv4, text] as const),
    [":", ":::", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1::2::3", "1:2:3:4:5:6:7::8", "12345::", "g::"].map(
      (text) => [parseIpv6, text] as const,
    ),
    ["1.2.3.4::", "::1.2.3", "::1.2.3.256", "::1.2.3.4:5", "1:2:3:4:5:6:7:1.2.3.4", "", " ::1"].map(
      (text) => [parseIpv6, text] as const,
    ),
    ["", "1:2:3:4:5", "1:2:3:4:5:6:7", "100:2:3:4:5:6", "g:2:3:4:5:6"].map((text) => [parseMac, text] as const),
  ])("gives null for what is no address (%#)", (...cases) => {
    for (const [parse, text] of cases) expect([text, parse(text)]).toEqual([text, null]);
  });

  it.each([
    ["00000000000000000000ffffc0000201", "::ffff:192.0.2.1", "::ffff:192.0.2.1"],
    ["fe8000000000000000005efec0000201", "fe80::5efe:c000:201", "fe80::5efe:192.0.2.1"],
    ["00000000000000000000000000000000", "::", "::"],
    ["20010db8000000010001000100010001", "2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
    ["20010db8000000000001000000000001", "2001:db8::1:0:0:1", "2001:db8::1:0:0:1"],
  ])("%s is %s, for the kernel %s", (hex, text, kernel) => {
    const address = new Uint8Array(Buffer.from(hex, "hex"));
    expect(ipv6Text(address)).toBe(text);
    expect(kernelIpv6Text(address)).toBe(kernel);
  });
});
