import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { decodeConnection } from "../../src/client/connection.ts";
import { formatConnection } from "../../src/client/format/connection.ts";
import { formatConntrackLine } from "../../src/client/format/conntrack-line.ts";
import { messagesOf } from "../../src/client/message.ts";

interface Row {
  /** An nlmsg of a ctnetlink dump of the real kernel (6.12). */
  message: string;
  /** The same connection by `ovs-dpctl dump-conntrack`, with -m, with -s, and by `conntrack -L`. */
  plain: string;
  more: string;
  statistics: string;
  line: string;
}

// Verification tags are big-endian, as in the packet; ovs-dpctl 3.1 prints them in host order, which is corrected here.
const rows = JSON.parse(
  readFileSync(new URL("../fixtures/conntrack-format-6.12.json", import.meta.url), "utf8"),
) as readonly Row[];

describe("connections are written as ovs-dpctl and conntrack(8) write them", () => {
  it.each(rows.map((row) => [row.plain, row] as const))("%s", (_, row) => {
    const [message] = messagesOf(Uint8Array.from(Buffer.from(row.message, "hex")));
    const connection = decodeConnection(message);
    expect(formatConnection(connection)).toBe(row.plain);
    expect(formatConnection(connection, { more: true })).toBe(row.more);
    // A second may have passed between the dump and the text.
    const aged = { ...connection, timeout: 999 };
    expect(formatConnection(aged, { statistics: true })).toBe(row.statistics);
    expect(formatConntrackLine(aged)).toBe(row.line);
  });

  it("labels, counters, helper and parent are told where there are any", () => {
    const [message] = messagesOf(Uint8Array.from(Buffer.from(rows[0].message, "hex")));
    const connection = {
      ...decodeConnection(message),
      labels: Uint8Array.from([0x0f, 0x10, ...new Array<number>(14).fill(0)]),
      counters: { original: { packets: 2, bytes: 100 }, reply: { packets: 0, bytes: 0 } },
      helper: "ftp",
      master: decodeConnection(message).original,
    };
    const text = formatConnection(connection, { statistics: true });
    expect(text).toContain("dport=53,packets=2,bytes=100),reply=(");
    expect(text).toContain("labels=0x100f,helper=ftp,parent=(src=2001:db8::1,");
  });
});
