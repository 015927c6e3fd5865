/** What nokmod answers to the questions of key-cases.ts, in the form of the reference's answers. */

import { Errno } from "../../src/core/errors.ts";
import { extractUserspace, parseKey, parseMatch, parseMetadata, putKey, putMask } from "../../src/flow/codec.ts";
import { extractKey } from "../../src/flow/extract/extract.ts";
import { newKey } from "../../src/flow/key.ts";
import { MessageWriter } from "../../src/netlink/writer.ts";
import { Packet } from "../../src/packet/packet.ts";
import { EINVAL, ENOENT } from "../../src/uapi/errno.ts";
import { concat, hex } from "./frames.ts";
import { sharedMemory } from "./key-cases.ts";
import type { Answer } from "./key-fixture.ts";

const memory = sharedMemory();

/** Puts a frame between bytes that are not its own. */
function packetOf(bytes: Uint8Array): Packet {
  memory.bytes.fill(0xa5, 0, 4096);
  memory.bytes.set(bytes, 512);
  const packet = new Packet(memory);
  packet.reset(512, bytes.length, 0, 4096);
  return packet;
}

function put(key: Int32Array): string {
  const writer = new MessageWriter();
  putKey(writer, key);
  return hex(writer.finish());
}

export function receive(bytes: Uint8Array): Answer {
  const packet = packetOf(bytes);
  packet.inPort = 1;
  const key = newKey();
  return extractKey(packet, key) === 0 ? put(key) : -EINVAL;
}

export function execute(keyBytes: Uint8Array, bytes: Uint8Array): Answer {
  return errnoOf(() => {
    const packet = packetOf(bytes);
    const key = newKey();
    const tuples = parseMetadata(viewOf(keyBytes), 0, keyBytes.length, packet, key);
    return extractUserspace(packet, key, tuples) || put(key);
  });
}

export function match(keyBytes: Uint8Array, maskBytes: Uint8Array | null): Answer {
  return errnoOf(() => {
    const all = concat(keyBytes, maskBytes ?? new Uint8Array(0));
    const key = newKey();
    const mask = newKey();
    parseMatch(viewOf(all), 0, keyBytes.length, maskBytes === null ? -1 : keyBytes.length, all.length, key, mask);
    const writer = new MessageWriter();
    putMask(
      writer,
      key.map((word, i) => word & mask[i]),
      mask,
    );
    return [put(key), hex(writer.finish())];
  });
}

function errnoOf(work: () => Answer): Answer {
  try {
    return work();
  } catch (error) {
    if (error instanceof Errno) return -error.errno;
    throw error;
  }
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);

/** GET without such a flow: the key is understood or not. */
export function get(key: Uint8Array): Answer {
  return errnoOf(() => {
    parseKey(viewOf(key), 0, key.length, newKey());
    return -ENOENT;
  });
}

/** Number of distinct masks among flows. */
export function distinctMasks(flows: readonly (readonly [key: Uint8Array, mask: Uint8Array | null])[]): number {
  const masks = flows.map(([keyBytes, maskBytes]) => {
    const all = concat(keyBytes, maskBytes ?? new Uint8Array(0));
    const mask = newKey();
    const maskStart = maskBytes === null ? -1 : keyBytes.length;
    const range = parseMatch(viewOf(all), 0, keyBytes.length, maskStart, all.length, newKey(), mask);
    return `${range} ${mask.join()}`;
  });
  return new Set(masks).size;
}

/** Names, ours and theirs of all cases that differ. */
export function differences<T>(cases: readonly T[], answers: readonly Answer[], ours: (one: T) => Answer): unknown[] {
  return cases.flatMap((one, i) => {
    const mine = ours(one);
    const theirs = answers[i];
    return JSON.stringify(mine) === JSON.stringify(theirs)
      ? []
      : [{ case: (one as { name: string }).name, mine, theirs }];
  });
}
