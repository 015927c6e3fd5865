/**
 * No request of any family ends in a fault of nokmod's own: recorded requests whose attributes are cut to 0, 1 or 2
 * bytes, get another type, lose or gain NLA_F_NESTED, are left out, repeated or filled with other bytes, and requests of
 * random bytes.
 */
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { expect, it } from "vitest";
import { SeededRandom } from "../../src/core/random.ts";
import { PacketMemory } from "../../src/packet/memory.ts";
import { MemoryPorts } from "../../src/port/memory/ports.ts";
import { NLM_F_ACK, NLM_F_REQUEST } from "../../src/uapi/netlink.ts";
import * as nf from "../../src/uapi/nfnetlink.ts";
import { messagesIn, TestKernel } from "../support/kernel.ts";
import { NfLab } from "../support/nfnetlink.ts";

const SEED = Number(process.env.NOKMOD_SEED ?? 11);
const random = new SeededRandom(SEED);
const below = (n: number): number => random.u32() % n;
const fixture = (name: string): Buffer => readFileSync(new URL(`../fixtures/${name}`, import.meta.url));

interface Tlv {
  type: number;
  payload: Uint8Array;
}

/** The attributes of a level if the bytes are nothing else. */
function parse(bytes: Uint8Array): Tlv[] | undefined {
  const list: Tlv[] = [];
  let at = 0;
  while (bytes.length - at >= 4) {
    const size = bytes[at] | (bytes[at + 1] << 8);
    if (size < 4 || size > bytes.length - at) return undefined;
    list.push({ type: bytes[at + 2] | (bytes[at + 3] << 8), payload: bytes.subarray(at + 4, at + size) });
    at += (size + 3) & ~3;
  }
  return at >= bytes.length && list.length > 0 ? list : undefined;
}

function build(list: readonly Tlv[]): Uint8Array {
  const parts = list.map(({ type, payload }) => {
    const bytes = new Uint8Array(4 + ((payload.length + 3) & ~3));
    bytes.set([(4 + payload.length) & 0xff, (4 + payload.length) >> 8, type & 0xff, type >> 8]);
    bytes.set(payload, 4);
    return bytes;
  });
  return new Uint8Array(Buffer.concat(parts));
}

const bytesOf = (length: number): Uint8Array => Uint8Array.from({ length }, () => (below(2) === 0 ? 0 : below(256)));

/** Changes attributes anywhere in a level. */
function mutate(bytes: Uint8Array, depth = 0): Uint8Array {
  const list = parse(bytes);
  if (list === undefined) return below(4) === 0 ? bytesOf(below(24)) : bytes;
  const at = below(list.length);
  const chosen = list[at];
  const inner = depth < 6 ? parse(chosen.payload) : undefined;
  if (inner !== undefined && below(4) !== 0) {
    list[at] = { type: chosen.type, payload: mutate(chosen.payload, depth + 1) };
    return build(list);
  }
  switch (below(8)) {
    case 0:
    case 1:
      chosen.payload = chosen.payload.subarray(0, below(3));
      break;
    case 2:
      chosen.type = (chosen.type & 0xc000) | below(40);
      break;
    case 3:
      chosen.type ^= 0x8000;
      break;
    case 4:
      list.splice(at, 1);
      break;
    case 5:
      list.splice(below(list.length + 1), 0, { type: below(40) | (below(2) << 15), payload: bytesOf(below(20)) });
      break;
    case 6:
      chosen.payload = bytesOf(chosen.payload.length);
      break;
    default:
      list.push(chosen);
  }
  const changed = build(list);
  return below(12) === 0 ? changed.subarray(0, below(changed.length + 1)) : changed;
}

/** A message with that header and attributes. */
function message(type: number, flags: number, header: Uint8Array, attributes: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(16 + header.length + attributes.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, bytes.length, true);
  view.setUint16(4, type, true);
  view.setUint16(6, flags | NLM_F_REQUEST | NLM_F_ACK, true);
  bytes.set(header, 16);
  bytes.set(attributes, 16 + header.length);
  return bytes;
}

const hex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "hex"));

it(`ctnetlink, expectations and timeout policies, seed ${SEED}`, { timeout: 120_000 }, () => {
  const { scripts } = JSON.parse(String(gunzipSync(fixture("ctnetlink-6.18.json.gz")))) as {
    scripts: { steps: { type: number; flags: number; family: number; version: number; body: string }[] }[];
  };
  let sent = 0;
  for (const { steps } of scripts) {
    const nf7 = new NfLab();
    const faults: unknown[] = [];
    nf7.bus.onFault = (error) => faults.push(error);
    const send = (type: number, flags: number, family: number, version: number, body: Uint8Array): void => {
      nf7.socket.send(message(type, flags, Uint8Array.of(family, version, 0, 0), body));
      for (let datagram = nf7.socket.receive(); datagram !== null; datagram = nf7.socket.receive());
      if (faults.length > 0) {
        const what = Buffer.from(body).toString("hex");
        throw new Error(`type ${type}, flags ${flags}, family ${family}: ${what}`, { cause: faults[0] });
      }
      sent++;
    };
    for (const { type, flags, family, version, body } of steps) {
      for (let i = 0; i < 12; i++) {
        let bytes = mutate(hex(body));
        if (below(3) === 0) bytes = mutate(bytes);
        const other = below(8) === 0 ? ((type >> 8) << 8) | below(9) : type;
        send(other, below(6) === 0 ? below(0x800) & ~1 : flags, below(10) === 0 ? below(256) : family, version, bytes);
      }
      // A timeout policy of every protocol, and bytes without any form.
      const subsystem = [1, 2, nf.NFNL_SUBSYS_CTNETLINK_TIMEOUT][below(3)];
      send(
        (subsystem << 8) | below(9),
        below(0x800) & ~1,
        below(12),
        0,
        below(2) === 0 ? bytesOf(below(80)) : policy(),
      );
      send(type, flags, family, version, hex(body));
    }
  }
  expect(sent).toBeGreaterThan(10_000);
});

/** A valid cttimeout message of a random protocol, mutated. */
function policy(): Uint8Array {
  const seconds = Array.from({ length: below(14) }, () => ({
    type: 1 + below(14),
    payload: bytesOf([4, 4, 4, 0, 1][below(5)]),
  }));
  const whole = build([
    { type: nf.CTA_TIMEOUT_NAME, payload: Uint8Array.of(97 + below(3), 0) },
    { type: nf.CTA_TIMEOUT_L3PROTO, payload: Uint8Array.of(0, 2) },
    { type: nf.CTA_TIMEOUT_L4PROTO, payload: Uint8Array.of([1, 6, 17, 33, 47, 58, 89, 132, 136, 255][below(10)]) },
    { type: nf.CTA_TIMEOUT_DATA | 0x8000, payload: build(seconds) },
  ]);
  return below(2) === 0 ? mutate(whole) : whole;
}

it(`generic-netlink families, seed ${SEED}`, { timeout: 120_000 }, () => {
  const memory = new PacketMemory();
  let sent = 0;
  for (const name of ["vswitchd-6.12.json", "netlink-answers-6.12.json"]) {
    const { families, transactions, cases } = JSON.parse(String(fixture(name))) as {
      families: Record<string, number>;
      transactions?: { request: string }[];
      cases?: { request: string }[];
    };
    const requests = (transactions ?? cases ?? []).flatMap(({ request }) => messagesIn(hex(request)));
    for (let round = 0; round < 6; round++) {
      const test = new TestKernel({ ports: new MemoryPorts(memory) });
      for (const device of ["eth1", "eth2", "veth0"]) test.device(device);
      const client = test.client();
      for (const { bytes, type, flags } of requests) {
        const family = Object.entries(families).find(([, id]) => id === type)?.[0];
        const number = family === undefined ? 16 : test.family(family);
        const start = family === undefined ? 20 : 24;
        if (bytes.length < start) continue;
        const header = bytes.slice(16, start);
        // Every datapath there is will do.
        const [datapath] = test.kernel.datapaths.list;
        if (family !== undefined && datapath !== undefined)
          new DataView(header.buffer).setInt32(4, datapath.ifindex, true);
        for (let i = 0; i < 6; i++) {
          const body = i === 5 ? bytes.slice(start) : mutate(bytes.slice(start));
          if (below(12) === 0) header[0] = below(6);
          client.socket.send(message(number, flags, header, body));
          client.drain();
          if (test.faults.length > 0) {
            const what = Buffer.from(body).toString("hex");
            throw new Error(`${family} command ${header[0]}: ${what}`, { cause: test.faults[0] });
          }
          sent++;
        }
      }
      test.kernel.shutdown();
    }
  }
  expect(sent).toBeGreaterThan(3_000);
});
