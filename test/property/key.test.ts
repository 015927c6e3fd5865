import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Errno } from "../../src/core/errors.ts";
import { parseKey, parseMatch, parseMetadata, putKey, putMask } from "../../src/flow/codec.ts";
import { extractHeaders, extractKey } from "../../src/flow/extract/extract.ts";
import { K, newKey } from "../../src/flow/key.ts";
import { MessageWriter } from "../../src/netlink/writer.ts";
import { Packet } from "../../src/packet/packet.ts";
import { EINVAL } from "../../src/uapi/errno.ts";
import { concat } from "../support/frames.ts";
import { executeCases, frames, matchCases, sharedMemory } from "../support/key-cases.ts";

const memory = sharedMemory();
const AT = 8192;

function packetOf(bytes: Uint8Array, around: number): Packet {
  memory.bytes.fill(around, AT - 256, AT + bytes.length + 256);
  memory.bytes.set(bytes, AT);
  const packet = new Packet(memory);
  packet.reset(AT, bytes.length, AT - 256, AT + bytes.length + 256);
  return packet;
}

/** Right frames, cut and with bytes changed, so that every parser is reached. */
const mutated = fc
  .record({
    frame: fc.constantFrom(...frames().map(({ bytes }) => bytes)),
    length: fc.nat(),
    changes: fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { maxLength: 4 }),
  })
  .map(({ frame, length, changes }) => {
    const bytes = frame.slice(0, 14 + (length % (frame.length - 13)));
    for (const [at, value] of changes) bytes[at % bytes.length] = value;
    return bytes;
  });

const anyFrame = fc.oneof(mutated, fc.uint8Array({ maxLength: 120 }));

function written(put: (writer: MessageWriter) => void): Uint8Array {
  const writer = new MessageWriter(16);
  put(writer);
  return writer.finish();
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);

describe("extraction", () => {
  it("never throws, and sees nothing but the packet's bytes", () => {
    fc.assert(
      fc.property(anyFrame, fc.boolean(), fc.constantFrom(0, 0x0800, 0x86dd, 0x8847, 0x894f), (bytes, l3, protocol) => {
        const results = [0x00, 0xff].map((around) => {
          const packet = packetOf(bytes, around);
          packet.macNone = l3;
          packet.protocol = protocol;
          const key = newKey();
          const error = extractKey(packet, key);
          expect(memory.bytes[AT - 1]).toBe(around);
          expect(memory.bytes[AT + bytes.length]).toBe(around);
          return { error, key: error === 0 ? [...key] : [], l3: packet.l3, l4: packet.l4, tag: packet.vlanTci };
        });
        expect(results[0]).toEqual(results[1]);
        expect([0, -EINVAL]).toContain(results[0].error);
      }),
      { numRuns: 2000 },
    );
  });

  it("gives the same key anew, whatever the key held before", () => {
    fc.assert(
      fc.property(
        mutated,
        fc.int32Array({ minLength: K.PACKET_WORDS, maxLength: K.PACKET_WORDS }),
        (bytes, garbage) => {
          const packet = packetOf(bytes, 0);
          const key = newKey();
          if (extractKey(packet, key) !== 0) return;
          const dirty = newKey();
          dirty.set(garbage);
          const copy = new Packet(memory);
          copy.copyFrom(packet);
          expect(extractKey(copy, dirty)).toBe(0);
          expect(dirty).toEqual(key);
          expect(extractHeaders(copy, dirty)).toBe(0);
          expect(dirty).toEqual(key);
        },
      ),
      { numRuns: 1000 },
    );
  });

  it("keeps l3 and l4 inside the packet", () => {
    fc.assert(
      fc.property(mutated, (bytes) => {
        const packet = packetOf(bytes, 0);
        if (extractKey(packet, newKey()) !== 0) return;
        const end = packet.off + packet.len;
        expect(packet.l3).toBeGreaterThanOrEqual(packet.off + 14);
        expect(packet.l3).toBeLessThanOrEqual(end);
        if (packet.l4 !== 0) {
          expect(packet.l4).toBeGreaterThan(packet.l3);
          // Only behind the header of a later IPv6 fragment nothing may be left, not even all of that header.
          expect(packet.l4).toBeLessThanOrEqual(end + 4);
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe("codec", () => {
  /** A key as a packet may have it, that a flow may have as well. */
  const validKey = fc
    .record({
      frame: fc.constantFrom(...frames().map(({ bytes }) => bytes)),
      metadata: fc.int32Array({ minLength: 11, maxLength: 11 }),
      tunnel: fc.option(fc.int32Array({ minLength: 13, maxLength: 13 }), { nil: undefined }),
      v6: fc.boolean(),
    })
    .map(({ frame, metadata, tunnel, v6 }) => {
      const key = newKey();
      extractKey(packetOf(frame, 0), key);
      key.set(metadata);
      key[K.IN_PORT] &= 0x7fff;
      key[K.CT] &= 0xffff00ff | 0;
      if (tunnel !== undefined) {
        key[K.TUN_PROTO] = (v6 ? 10 : 2) << 8;
        key.set(tunnel, K.TUN_ID);
        if (!v6) {
          key.fill(0, K.TUN_SRC + 1, K.TUN_DST);
          key.fill(0, K.TUN_DST + 1, K.TUN_FLAGS);
        }
        key[K.TUN_DST] |= 1;
        key[K.TUN_FLAGS] &= 0x000fffff;
        if (((key[K.TUN_FLAGS] >>> 16) & 1) === 0) key.fill(0, K.TUN_ID, K.TUN_SRC);
        key[K.TUN_OPTS] = 0;
      }
      return key;
    })
    // These four cannot be installed: no bottom of stack, three tags.
    .filter((key) => key[K.ETH_TYPE] >>> 16 !== 0x8100);

  it("K-251…K-265: parse(put(key)) is the key", () => {
    fc.assert(
      fc.property(validKey, (key) => {
        const bytes = written((writer) => putKey(writer, key));
        const parsed = newKey();
        parseKey(viewOf(bytes), 0, bytes.length, parsed);
        expect(parsed).toEqual(key);
      }),
      { numRuns: 1000 },
    );
  });

  it("K-264: parse(put(mask)) is the mask", () => {
    fc.assert(
      fc.property(validKey, fc.int32Array({ minLength: 11, maxLength: 11 }), (key, bits) => {
        const keyBytes = written((writer) => putKey(writer, key));
        const mask = newKey();
        parseMatch(viewOf(keyBytes), 0, keyBytes.length, -1, 0, newKey(), mask);
        // Some of the metadata wildcarded.
        for (const word of [K.RECIRC_ID, K.DP_HASH, K.PRIORITY, K.SKB_MARK, K.CT_MARK]) mask[word] &= bits[word];
        const masked = key.map((word, i) => word & mask[i]);
        const maskBytes = written((writer) => putMask(writer, masked, mask));
        const all = concat(keyBytes, maskBytes);
        const again = newKey();
        parseMatch(viewOf(all), 0, keyBytes.length, keyBytes.length, all.length, newKey(), again);
        // The module shows fewer tunnel fields than it matches: without MASK it matches them all (spec/keys K-050).
        again.fill(0, K.TUN_PROTO);
        mask.fill(0, K.TUN_PROTO);
        expect(again).toEqual(mask);
      }),
      { numRuns: 500 },
    );
  });

  it("refuses or accepts any bytes with nothing but EINVAL, and reads nothing outside", () => {
    const seeds = [
      ...matchCases().map(({ key, mask }) => ({ key, mask })),
      ...executeCases().map(({ key }) => ({ key, mask: null })),
    ];
    const change = fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { maxLength: 6 });
    const result = (work: () => void): number => {
      try {
        work();
        return 0;
      } catch (error) {
        if (error instanceof Errno) return error.errno;
        throw error;
      }
    };
    fc.assert(
      fc.property(fc.constantFrom(...seeds), change, fc.nat(), ({ key: keyBytes, mask: maskBytes }, changes, cut) => {
        const bytes = concat(keyBytes, maskBytes ?? new Uint8Array(0));
        for (const [at, value] of changes) if (bytes.length > 0) bytes[at % bytes.length] = value;
        const split = Math.min(keyBytes.length, bytes.length - (cut % 3 === 0 ? cut % (bytes.length + 1) : 0));
        const results = [0, 0xff].map((around) => {
          const all = concat(new Uint8Array(16).fill(around), bytes, new Uint8Array(16).fill(around));
          const key = newKey();
          const mask = newKey();
          const packet = new Packet(memory);
          const errors = [
            result(() =>
              parseMatch(
                viewOf(all),
                16,
                16 + split,
                maskBytes === null ? -1 : 16 + split,
                16 + bytes.length,
                key,
                mask,
              ),
            ),
            result(() => parseKey(viewOf(all), 16, 16 + split, newKey())),
            result(() => parseMetadata(viewOf(all), 16, 16 + split, packet, newKey())),
          ];
          return [errors, [...key], [...mask]];
        });
        expect(results[0]).toEqual(results[1]);
        for (const error of results[0][0]) expect([0, EINVAL]).toContain(error);
      }),
      { numRuns: 3000 },
    );
  });
});
