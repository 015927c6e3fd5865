import { describe, expect, it } from "vitest";
import { isMpls, isVlan } from "../../src/packet/ethernet.ts";
import { IpProto } from "../../src/packet/ip.ts";
import * as ipv4Header from "../../src/packet/ipv4.ts";
import * as ipv6Header from "../../src/packet/ipv6.ts";
import * as mplsHeader from "../../src/packet/mpls.ts";
import * as nshHeader from "../../src/packet/nsh.ts";
import * as tcpHeader from "../../src/packet/tcp.ts";
import { extension, fragment, frame, ipv4, ipv6, TCP_ACK, TCP_SYN, tcp } from "../support/frames.ts";

const at = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
const literal = (hex: string): DataView => at(Uint8Array.from(Buffer.from(hex, "hex")));

describe("IPv6 extension headers", () => {
  const result = new ipv6Header.Ipv6Walk();
  const routing = extension(IpProto.ROUTING, { body: Uint8Array.from([0, 1, 0, 0, 0, 0]) });
  const chain = frame(ipv6(), extension(0), routing, extension(60), extension(51), fragment({ mf: true }), tcp());

  it("walks to the upper layer", () => {
    expect(ipv6Header.walk(at(chain), 0, chain.length, result)).toBe(true);
    expect(result).toMatchObject({ proto: IpProto.TCP, offset: 84, fragment: 76, routing: 48, later: false });
    expect([result.nextHeaderAt, result.fragmentNextHeaderAt]).toEqual([76, 64]);
  });
  it("stops behind a later fragment", () => {
    const later = frame(ipv6(), fragment({ offset: 64, nextHeader: 0 }), "not a hop-by-hop header");
    expect(ipv6Header.walk(at(later), 0, later.length, result)).toBe(true);
    expect(result).toMatchObject({ proto: 0, offset: 48, fragment: 40, later: true });
  });
  it("says where a header is cut off, for every length", () => {
    for (let end = 40; end < 84; end++) {
      expect(ipv6Header.walk(at(chain.slice(0, end)), 0, end, result), `${end} bytes`).toBe(false);
    }
    ipv6Header.walk(at(chain), 0, 70, result);
    expect(result).toMatchObject({ proto: 51, offset: 64 });
  });
  it("ends at no next header", () => {
    const none = frame(ipv6(), extension(60), "x");
    expect(ipv6Header.walk(at(none), 0, none.length, result)).toBe(true);
    expect(result).toMatchObject({ proto: IpProto.NONE, offset: 48 });
  });
  it("finds the fragmentable part: destination options count only before a routing header", () => {
    const find = (...layers: Parameters<typeof frame>): number => {
      const bytes = frame(ipv6(), ...layers, tcp());
      return ipv6Header.findFragmentable(at(bytes), 0, bytes.length, result) ? result.offset : -1;
    };
    expect(find()).toBe(40);
    expect(find(extension(0), extension(60), routing, extension(60))).toBe(64);
    expect(find(extension(51))).toBe(40);
    const cut = frame(ipv6(), extension(0));
    expect(ipv6Header.findFragmentable(at(cut.slice(0, 44)), 0, 44, result)).toBe(false);
  });
});

describe("fields", () => {
  it("IPv6 first word", () => {
    const view = literal("6abcdef5");
    expect([ipv6Header.trafficClass(view, 0), ipv6Header.flowLabel(view, 0)]).toEqual([0xab, 0xcdef5]);
    ipv6Header.setTrafficClass(view, 0, 0x12);
    ipv6Header.setFlowLabel(view, 0, 0x34567);
    expect(view.getUint32(0)).toBe(0x61234567);
  });
  it("IPv4 fragments", () => {
    const view = at(frame(ipv4({ mf: true, offset: 8 })));
    expect([ipv4Header.isFragment(view, 0), ipv4Header.isLaterFragment(view, 0)]).toEqual([true, true]);
    ipv4Header.setFrag(view, 0, ipv4Header.DF);
    expect([ipv4Header.isFragment(view, 0), ipv4Header.isLaterFragment(view, 0)]).toEqual([false, false]);
  });
  it("IPv4 soundness", () => {
    const bytes = frame(ipv4());
    expect(ipv4Header.isValid(at(bytes), 0, 20)).toBe(true);
    expect(ipv4Header.isValid(at(bytes), 0, 19)).toBe(false);
    expect(ipv4Header.isValid(at(frame(ipv4({ ihl: 4 }))), 0, 20)).toBe(false);
    expect(ipv4Header.isValid(at(frame(ipv4({ ihl: 6 }))), 0, 20)).toBe(false);
    expect(ipv4Header.isValid(at(frame(ipv4({ version: 6 }))), 0, 20)).toBe(false);
  });
  it("TCP flags and offset", () => {
    const view = at(frame(tcp({ flags: TCP_SYN | TCP_ACK, options: new Uint8Array(12) })));
    expect([tcpHeader.flags(view, 0), tcpHeader.headerLength(view, 0)]).toEqual([0x12, 32]);
  });
  it("NSH: the header of RFC 8300 section 2.2", () => {
    // OAM bit, TTL 63, length 6 words, MD type 1, IPv4, path 0x123456, index 0x78.
    const view = literal("2fc60101" + "12345678");
    expect([nshHeader.headerLength(view, 0), nshHeader.nextProtocol(view, 0)]).toEqual([24, 1]);
    nshHeader.setFlagsTtlLength(view, 0, 0, 63, 8);
    expect(view.getUint16(0)).toBe(0x0fc2);
  });
  it("MPLS and ethertypes", () => {
    expect(mplsHeader.isBottom(0x00064140)).toBe(true);
    expect(mplsHeader.isBottom(0x00064040)).toBe(false);
    expect([isVlan(0x8100), isVlan(0x88a8), isVlan(0x9100)]).toEqual([true, true, false]);
    expect([isMpls(0x8847), isMpls(0x8848), isMpls(0x0800)]).toEqual([true, true, false]);
  });
});
