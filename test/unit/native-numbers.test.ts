/**
 * Numbers that TypeScript and native code share: operation codes, records, ring words, flags. The compiler prints what native's
 * headers make of them.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import * as transport from "../../src/netlink/transport.ts";
import * as memory from "../../src/packet/memory.ts";
import * as packet from "../../src/packet/packet.ts";
import * as packetIo from "../../src/port/native/packet-io.ts";
import * as server from "../../src/server/native-server.ts";

const NATIVE = fileURLToPath(new URL("../../native", import.meta.url));
const DOCUMENT = fileURLToPath(new URL("../../docs/transport.md", import.meta.url));

type Numbers = Readonly<Record<string, number>>;

/** The members of a const enum, which is an object here. */
function members(module: object, name: string): Numbers {
  const found = (module as Record<string, Record<string, unknown>>)[name];
  const entries = Object.entries(found).filter((entry): entry is [string, number] => typeof entry[1] === "number");
  expect(entries.length, name).toBeGreaterThan(0);
  return Object.fromEntries(entries);
}

/** "ReceiveBuffer" → "receive_buffer" */
const snake = (name: string): string => name.replace(/(?<=[a-z])[A-Z]/g, (letter) => `_${letter}`).toLowerCase();

/** The values of C or C++ expressions, in order. */
function evaluate(language: "c" | "c++", includes: readonly string[], expressions: readonly string[]): number[] {
  const folder = mkdtempSync(join(tmpdir(), "nokmod-numbers-"));
  try {
    const source = [
      "#include <stddef.h>",
      "#include <stdio.h>",
      ...includes.map((file) => `#include ${file}`),
      "int main(void) {",
      ...expressions.map((expression) => `  printf("%lld\\n", (long long)(${expression}));`),
      "}",
    ].join("\n");
    const [compiler, file, standard] = language === "c" ? ["gcc", "n.c", "gnu11"] : ["g++", "n.cc", "c++17"];
    const program = join(folder, "numbers");
    writeFileSync(join(folder, file), source);
    const flags = ["-w", `-std=${standard}`, "-I", NATIVE, "-o", program];
    execFileSync(compiler, [...flags, join(folder, file)], { stdio: "pipe" });
    return execFileSync(program, { encoding: "utf8" }).trim().split("\n").map(Number);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Ours: [what it is, its value here, the expression in C]. */
function compare(language: "c" | "c++", includes: readonly string[], ours: readonly [string, number, string][]): void {
  const theirs = evaluate(
    language,
    includes,
    ours.map(([, , expression]) => expression),
  );
  const wrong = ours
    .map(([name, value, expression], i) => `${name}: ${value}, ${expression} = ${theirs[i]}`)
    .filter((_, i) => ours[i][1] !== theirs[i]);
  expect(wrong).toEqual([]);
}

const usable = spawnSync("g++", ["--version"]).status === 0;
const virtio = "/usr/include/linux/virtio_net.h";

describe.skipIf(!usable)("native numbers", () => {
  const wire = ['"preload/wire.h"'];

  it("transport: operations", () => {
    const operations = Object.entries(members(transport, "TransportOp"));
    compare("c", wire, [
      ...operations.map(([name, value]): [string, number, string] => [name, value, `OP_${snake(name).toUpperCase()}`]),
      ["operations", 1 + Math.max(...operations.map(([, value]) => value)), "OP_END"],
    ]);
  });

  it("transport: records", () => {
    const fields = (record: string, layout: Numbers): [string, number, string][] =>
      Object.entries(layout).map(([name, at]) => [
        `${record}.${name}`,
        at,
        `offsetof(struct ${record}, ${snake(name)})`,
      ]);
    const constants = Object.entries(transport).filter(
      (entry): entry is [string, number] => typeof entry[1] === "number",
    );
    expect(constants.map(([name]) => name)).toContain("REQUEST_MAX");
    compare("c", wire, [
      ...constants.map(([name, value]): [string, number, string] => [name, value, name]),
      ...Object.entries(members(transport, "ChannelKind")).map(([name, value]): [string, number, string] => [
        name,
        value,
        `CHANNEL_${name.toUpperCase()}`,
      ]),
      ...fields("hello", members(transport, "HelloAt")),
      ...fields("request", members(transport, "RequestAt")),
      ...fields("answer", members(transport, "AnswerAt")),
    ]);
  });

  it("transport: flags of a packet that the server takes", () => {
    compare(
      "c++",
      ['"src/record.h"'],
      Object.entries(members(server, "PacketFlag")).map(([name, value]) => [name, value, `k${name}`]),
    );
  });

  it("transport: the mailbox is laid out as docs/transport.md says, and its states are numbered so", () => {
    const text = readFileSync(DOCUMENT, "utf8");
    const section = text.slice(text.indexOf("\n## Mailboxes"), text.indexOf("\n## Port ids"));
    const layout = [...section.matchAll(/^\| (\d+) \| (?:u32 |the )?(\w+)/gm)].map(
      ([, at, name]) => [name, Number(at)] as const,
    );
    expect(layout.map(([name]) => name)).toEqual(["looking", "state", "length", "answer", "request"]);
    const states = new Set([...section.matchAll(/^\| (\d) \w+ \| \d \w+ \|/gm)].map(([row]) => row));
    const named = [...states]
      .flatMap((row) => [...row.matchAll(/(\d) (\w+)/g)])
      .map(([, value, name]) => `${name}=${value}`);
    expect(new Set(named).size).toBe(5);
    compare(
      "c",
      ['"preload/mailbox.h"'],
      [
        ...layout.map(([name, at]): [string, number, string] => [
          name,
          at,
          `offsetof(struct mailbox, ${name === "request" ? "record" : name})`,
        ]),
        ...[...new Set(named)].map((one): [string, number, string] => {
          const [name, value] = one.split("=");
          return [name, Number(value), `MAILBOX_${name.toUpperCase()}`];
        }),
        ["answer", transport.ANSWER_BYTES, "MAILBOX_ANSWER"],
        ["size", 64 * 1024, "MAILBOX_BYTES"],
      ],
    );
  });

  it("ring words: Rx and Tx", () => {
    const words = (name: "Rx" | "Tx"): [string, number, string][] =>
      Object.entries(members(packetIo, name)).map(([word, value]) => [
        `${name}.${word}`,
        value,
        word === "WORDS" ? `nokmod::k${name}Words` : `offsetof(nokmod::${name}Descriptor, ${word.toLowerCase()}) / 4`,
      ]);
    compare(
      "c++",
      ['"src/io_port.h"'],
      [
        ...words("Rx"),
        ...words("Tx"),
        ["TX_BATCH", packetIo.TX_BATCH, "nokmod::kTxBatch"],
        ["HEADROOM", memory.HEADROOM, "nokmod::LargeBuffers::kHeadroom"],
      ],
    );
  });

  it.skipIf(!existsSync(virtio))("VIRTIO_NET_HDR_*: TypeScript, C++ and linux/virtio_net.h agree", () => {
    const flags = Object.entries(members(packetIo, "VnetFlag"));
    const types = Object.entries(members(packet, "Gso"));
    const newer = new Set(["UDP_L4"]); // Linux 6.2
    const known = types.filter(([name]) => !newer.has(name));
    compare(
      "c",
      ["<linux/virtio_net.h>"],
      [
        ...flags.map(([name, value]): [string, number, string] => [name, value, `VIRTIO_NET_HDR_F_${name}`]),
        ...known.map(([name, value]): [string, number, string] => [name, value, `VIRTIO_NET_HDR_GSO_${name}`]),
      ],
    );
    const gso = Object.fromEntries(types);
    compare(
      "c++",
      ['"src/io_port.h"'],
      [
        ["NEEDS_CSUM", Object.fromEntries(flags).NEEDS_CSUM, "nokmod::kVnetNeedsCsum"],
        ["TCPV4", gso.TCPV4, "nokmod::kVnetGsoTcpV4"],
        ["TCPV6", gso.TCPV6, "nokmod::kVnetGsoTcpV6"],
        ["UDP_L4", gso.UDP_L4, "nokmod::kVnetGsoUdpL4"],
        ["ECN", gso.ECN, "nokmod::kVnetGsoEcn"],
      ],
    );
  });
});
