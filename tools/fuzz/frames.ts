import { Csum, Gso } from "../../src/packet/packet.ts";
import type { Offload } from "../../src/port/memory/ports.ts";
import {
  arp,
  ethernet,
  extension,
  fragment,
  fragmentIpv4,
  fragmentIpv6,
  frame,
  icmp,
  icmpv6,
  ipv4,
  ipv6,
  type Layer,
  mpls,
  nd,
  nsh,
  sctp,
  sctpChunk,
  snap,
  tcp,
  udp,
  vlan,
} from "../../test/support/frames.ts";
import type { Chance } from "./chance.ts";
import { flipBytes } from "./tlv.ts";

const V4 = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.1.1.240", "192.168.0.1", "224.0.0.1", "255.255.255.255", "0.0.0.0"];
const V6 = ["fd00::1", "fd00::2", "fd00::3", "fe80::1", "ff02::1", "::1"];
/** Of helpers (ftp, tftp, sip, h323, pptp, irc, amanda, snmp, sane), of tunnels, and others. */
const PORTS = [1000, 2000, 20, 21, 53, 69, 161, 1719, 1720, 1723, 4789, 4790, 5060, 6081, 6566, 6667, 10080, 0, 65535];
const TEXT = [
  "PORT 10,0,0,1,4,1\r\n",
  "227 Entering Passive Mode (10,0,0,2,200,3)\r\n",
  "EPRT |2|fd00::1|5282|\r\n",
  "229 Entering Extended Passive Mode (|||6446|)\r\n",
  "PRIVMSG x :\u0001DCC SEND file 167772161 4000 10\u0001\r\n",
  "CONNECT DATA 1 MESG 2 INDEX 3\n",
  "INVITE sip:b@10.0.0.2 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1:5060\r\nContact: <sip:a@10.0.0.1:5060>\r\nCSeq: 1 INVITE\r\n" +
    "Content-Length: 80\r\n\r\nv=0\r\no=a 1 1 IN IP4 10.0.0.1\r\nc=IN IP4 10.0.0.1\r\nm=audio 4000 RTP/AVP 0\r\n",
  "\0\u0001file\0octet\0",
];

/** A frame, and what a device would tell of it. */
export interface Arriving {
  readonly bytes: Uint8Array;
  readonly offload?: Offload;
}

function payload(chance: Chance): Uint8Array | string {
  switch (chance.below(5)) {
    case 0:
      return "";
    case 1:
      return chance.bytes(chance.below(60));
    case 2:
      return chance.bytes(chance.below(1400));
    default: {
      const text = chance.of(TEXT);
      return chance.oneIn(3) ? text.slice(0, chance.below(text.length)) : text;
    }
  }
}

/** The L4 header and what follows it. */
function transport(chance: Chance, v6: boolean): (Layer | Uint8Array | string)[] {
  const ports = { src: chance.of(PORTS), dst: chance.of(PORTS) };
  const wrong = chance.oneIn(12) ? { checksum: chance.below(0x10000) } : {};
  switch (chance.below(9)) {
    case 0:
    case 1:
    case 2:
      return [
        tcp({
          ...ports,
          ...wrong,
          flags: chance.oneIn(4) ? chance.below(0x1000) : chance.of([2, 0x12, 0x10, 0x18, 0x11, 4, 0x14]),
          seq: chance.oneIn(3) ? chance.u32() : chance.below(4),
          ack: chance.oneIn(3) ? chance.u32() : chance.below(4),
          window: chance.below(65536),
          options: chance.oneIn(3) ? chance.bytes(4 * chance.below(10)) : Uint8Array.of(3, 3, 7, 1, 4, 2, 5, 10),
          ...(chance.oneIn(12) ? { dataOffset: chance.below(16) } : {}),
        }),
        payload(chance),
      ];
    case 3:
    case 4:
      return [
        udp({ ...ports, ...wrong, ...(chance.oneIn(12) ? { length: chance.below(2000) } : {}) }),
        payload(chance),
      ];
    case 5:
      return [
        sctp({ ...ports, tag: chance.below(3) }),
        sctpChunk(chance.below(16), chance.below(2), chance.bytes(chance.below(24))),
        sctpChunk(chance.below(16), 0, chance.bytes(chance.below(24))),
      ];
    case 6: {
      // An error about an inner packet, of a connection that may be there.
      const inner = chance.oneIn(2)
        ? v6
          ? frame(ipv6({ src: chance.of(V6), dst: chance.of(V6) }), udp(ports), "x")
          : frame(ipv4({ src: chance.of(V4), dst: chance.of(V4) }), udp(ports), "12345678")
        : chance.bytes(chance.below(80));
      const head = {
        type: chance.of(v6 ? [1, 2, 3, 4, 128, 129] : [0, 3, 4, 5, 8, 11, 12, 13]),
        code: chance.below(5),
        ...wrong,
      };
      return [v6 ? icmpv6(head) : icmp(head), inner];
    }
    case 7:
      return v6
        ? [nd({ type: chance.of([135, 136]), sll: "02:00:00:00:00:0a", options: chance.bytes(chance.below(20)) })]
        : [Uint8Array.of(0x30, 1, 0x88, 0x0b, 0, 4, 0, chance.below(3), 0, 0, 0, 1), chance.bytes(chance.below(20))];
    default:
      return [payload(chance)];
  }
}

function network(chance: Chance, depth = 0): (Layer | Uint8Array | string)[] {
  const v6 = chance.oneIn(3);
  const odd = chance.oneIn(10);
  const rest = depth < 2 && chance.oneIn(8) ? network(chance, depth + 1) : transport(chance, v6);
  if (v6) {
    const extensions: Layer[] = [];
    while (chance.oneIn(5))
      extensions.push(
        chance.oneIn(3)
          ? fragment({ offset: 8 * chance.below(4), mf: chance.oneIn(2), id: chance.below(3) })
          : extension(chance.of([0, 43, 51, 60, 135]), chance.oneIn(4) ? { length: chance.below(256) } : {}),
      );
    return [
      ipv6({
        src: chance.of(V6),
        dst: chance.of(V6),
        hopLimit: chance.of([64, 1, 0, 255]),
        tclass: chance.below(4),
        ...(odd ? { payloadLength: chance.below(2000) } : {}),
      }),
      ...extensions,
      ...rest,
    ];
  }
  return [
    ipv4({
      src: chance.of(V4),
      dst: chance.of(V4),
      ttl: chance.of([64, 1, 0, 255]),
      tos: chance.below(4),
      id: chance.below(3),
      ...(chance.oneIn(8) ? { mf: chance.oneIn(2), offset: 8 * chance.below(5) } : {}),
      ...(chance.oneIn(10) ? { options: chance.bytes(4 * chance.below(11)) } : {}),
      ...(chance.oneIn(10) ? { proto: chance.of([47, 17, 6, 1, 132, 33, 136, 50, 255]) } : {}),
      ...(odd ? { totalLength: chance.below(2000), version: chance.of([4, 4, 6, 0]), ihl: chance.below(16) } : {}),
    }),
    ...rest,
  ];
}

/** Layers of an Ethernet frame that mostly hang together. */
export function structured(chance: Chance): Uint8Array {
  const layers: (Layer | Uint8Array | string)[] = [ethernet(chance.oneIn(12) ? { type: chance.below(0x10000) } : {})];
  while (chance.oneIn(5))
    layers.push(vlan({ vid: chance.below(3), tpid: chance.of([0x8100, 0x88a8]), pcp: chance.below(8) }));
  switch (chance.below(14)) {
    case 0:
      layers.push(
        arp({ op: chance.below(4), rarp: chance.oneIn(6), ...(chance.oneIn(6) ? { hln: chance.below(9) } : {}) }),
      );
      break;
    case 1:
      for (let i = chance.below(5); i >= 0; i--) layers.push(mpls({ label: chance.below(20), ttl: chance.below(3) }));
      layers.push(...network(chance));
      break;
    case 2:
      layers.push(
        nsh({
          mdtype: chance.of([1, 1, 2, 3]),
          np: chance.below(5),
          context: chance.bytes(4 * chance.of([4, 4, 0, 6])),
        }),
      );
      layers.push(...(chance.oneIn(2) ? [ethernet(), ...network(chance)] : network(chance)));
      break;
    case 3:
      layers[0] = ethernet({ type: chance.below(0x600) });
      layers.push(snap(), ...network(chance));
      break;
    default:
      layers.push(...network(chance));
  }
  return frame(...layers);
}

/** Frames that arrive one after the other: one, most times; all fragments of one, in any order, now and then. */
export function arriving(chance: Chance): Arriving[] {
  const bytes = structured(chance);
  const kind = chance.below(20);
  if (kind === 0) return [{ bytes: chance.bytes(chance.below(200)) }];
  if (kind === 1) return [{ bytes: bytes.subarray(0, chance.below(bytes.length + 1)) }];
  if (kind <= 4) return [{ bytes: flipBytes(bytes, chance) }];
  if (kind <= 6) {
    const v6 = chance.oneIn(2);
    const whole = v6
      ? frame(ethernet(), ipv6(), udp(), chance.bytes(200 + chance.below(3000)))
      : frame(ethernet(), ipv4({ id: chance.below(4) }), udp(), chance.bytes(200 + chance.below(3000)));
    const size = 8 * (1 + chance.below(120));
    const pieces = v6 ? fragmentIpv6(whole, size, chance.below(4)) : fragmentIpv4(whole, size);
    if (chance.oneIn(2)) pieces.sort(() => chance.below(3) - 1);
    if (chance.oneIn(4)) pieces.splice(chance.below(pieces.length), 1);
    return pieces.slice(0, 40).map((piece) => ({ bytes: piece }));
  }
  if (kind === 7) {
    // A GSO packet as a device hands it over: its checksum is not done yet.
    const v6 = chance.oneIn(2);
    const flags = chance.of([0x10, 0x18]);
    const whole = frame(ethernet(), v6 ? ipv6() : ipv4(), tcp({ flags }), chance.bytes(1500 + chance.below(8000)));
    const gsoType = v6 ? Gso.TCPV6 : Gso.TCPV4;
    const csumStart = v6 ? 54 : 34;
    return [
      {
        bytes: whole,
        offload: { csum: Csum.PARTIAL, csumStart, csumOffset: 16, gsoType, gsoSize: 500 + chance.below(1000) },
      },
    ];
  }
  if (kind === 8)
    return [{ bytes, offload: { vlanTci: 0x1000 | chance.below(4096), vlanTpid: chance.of([0x8100, 0x88a8]) } }];
  if (kind === 9) return [{ bytes, offload: { csum: Csum.UNNECESSARY } }];
  return [{ bytes }];
}

/** An IP packet that reaches a tunnel of this host, or nearly. */
export function tunnelled(chance: Chance): Uint8Array {
  const inner = structured(chance);
  const v6 = chance.oneIn(3);
  const head = v6 ? ipv6({ src: "fd09::2", dst: "fd09::1" }) : ipv4({ src: "10.9.0.2", dst: "10.9.0.1" });
  const udpTo = (dst: number, header: Uint8Array): Uint8Array => frame(head, udp({ src: 40000, dst }), header, inner);
  const gre = (header: Uint8Array): Uint8Array =>
    frame(
      v6
        ? ipv6({ src: "fd09::2", dst: "fd09::1", nextHeader: 47 })
        : ipv4({ src: "10.9.0.2", dst: "10.9.0.1", proto: 47 }),
      header,
      inner,
    );
  const bytes = ((): Uint8Array => {
    switch (chance.below(6)) {
      case 0:
        return udpTo(4789, Uint8Array.of(chance.of([8, 0x88, 0]), 0, chance.below(256), 0, 0, 0, chance.below(3), 0));
      case 1: {
        const words = chance.below(6);
        const header = Uint8Array.of(
          chance.oneIn(4) ? chance.below(256) : words,
          chance.of([0, 0x80, 0x40]),
          0x65,
          0x58,
          0,
          0,
          1,
          0,
        );
        return udpTo(6081, new Uint8Array(Buffer.concat([header, chance.bytes(4 * words)])));
      }
      case 2:
        return gre(
          Uint8Array.of(chance.of([0x20, 0, 0xb0, 0xa0]), chance.of([0, 0, 1]), 0x65, 0x58, 0, 0, 0, chance.below(3)),
        );
      case 3:
        return gre(
          Uint8Array.of(
            0x10,
            0,
            chance.of([0x88, 0x22]),
            chance.of([0xbe, 0xeb]),
            0,
            0,
            0,
            chance.below(9),
            chance.of([0x10, 0x20, 0]),
            ...chance.bytes(11),
          ),
        );
      case 4:
        return udpTo(4790, Uint8Array.of(0x0c, 0, 0, chance.of([1, 2, 3, 4]), 0, 0, 1, 0));
      default:
        return udpTo(chance.of([4789, 4790, 6081, 6635]), chance.bytes(chance.below(20)));
    }
  })();
  if (chance.oneIn(6)) return bytes.subarray(0, 20 + chance.below(bytes.length - 19));
  return chance.oneIn(3) ? flipBytes(bytes, chance) : bytes;
}
