/** The numbers of src/uapi against the headers that are installed: a C program prints what the compiler makes of them. */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import * as errno from "../../src/uapi/errno.ts";
import * as genetlink from "../../src/uapi/genetlink.ts";
import * as dropmon from "../../src/uapi/net_dropmon.ts";
import * as netlink from "../../src/uapi/netlink.ts";
import * as nfnetlink from "../../src/uapi/nfnetlink.ts";
import * as openvswitch from "../../src/uapi/openvswitch.ts";
import * as psample from "../../src/uapi/psample.ts";
import * as rtnetlink from "../../src/uapi/rtnetlink.ts";

const HEADERS: Record<string, { numbers: object; includes: string[] }> = {
  errno: { numbers: errno, includes: ["errno.h"] },
  genetlink: { numbers: genetlink, includes: ["linux/genetlink.h"] },
  netlink: { numbers: netlink, includes: ["linux/netlink.h"] },
  nfnetlink: {
    numbers: nfnetlink,
    includes: [
      "linux/netfilter/nfnetlink.h",
      "linux/netfilter/nfnetlink_conntrack.h",
      "linux/netfilter/nfnetlink_cttimeout.h",
      "linux/netfilter/nf_conntrack_common.h",
      "linux/netfilter/nf_conntrack_tcp.h",
      "linux/netfilter/nf_conntrack_sctp.h",
      "linux/netfilter/nf_nat.h",
    ],
  },
  net_dropmon: { numbers: dropmon, includes: ["linux/net_dropmon.h"] },
  psample: { numbers: psample, includes: ["linux/psample.h"] },
  rtnetlink: {
    numbers: rtnetlink,
    includes: ["linux/rtnetlink.h", "linux/if_link.h", "linux/if_tunnel.h"],
  },
  openvswitch: { numbers: openvswitch, includes: ["linux/openvswitch.h"] },
};

/** Numbers that the installed headers may be too old for; each stands in a row of the spec. */
const NEWER = new Set([
  "OVS_VPORT_ATTR_UPCALL_STATS",
  "OVS_VPORT_UPCALL_ATTR_SUCCESS",
  "OVS_VPORT_UPCALL_ATTR_FAIL",
  "OVS_PACKET_ATTR_UPCALL_PID",
  "OVS_ACTION_ATTR_DROP",
  "OVS_ACTION_ATTR_PSAMPLE",
  "OVS_PSAMPLE_ATTR_GROUP",
  "OVS_PSAMPLE_ATTR_COOKIE",
  "OVS_PSAMPLE_COOKIE_MAX_SIZE",
  "OVS_HASH_ALG_SYM_L4",
  "PSAMPLE_ATTR_USER_COOKIE",
  "PSAMPLE_ATTR_SAMPLE_PROBABILITY",
  "IFLA_VXLAN_LOCALBYPASS",
  "IFLA_VXLAN_LABEL_POLICY",
  "IFLA_VXLAN_RESERVED_BITS",
]);
/** Those that grow with the headers. */
const GROWS = /_MAX$/;

const usable = spawnSync("gcc", ["--version"]).status === 0 && existsSync("/usr/include/linux/openvswitch.h");

it.skipIf(!usable).each(Object.keys(HEADERS))("numbers of %s are those of the headers", (name) => {
  const { numbers, includes } = HEADERS[name];
  const entries = Object.entries(numbers).filter((entry): entry is [string, number] => typeof entry[1] === "number");
  const folder = mkdtempSync(join(tmpdir(), "nokmod-uapi-"));
  try {
    const compile = (names: string[]): { status: number | null; stderr: string } => {
      const lines = names.map((one) => `  printf("${one} %lld\\n", (long long)(${one}));`);
      const source = [
        "#include <stdio.h>",
        "#include <stddef.h>",
        "#include <sys/socket.h>",
        ...includes.map((file) => `#include <${file}>`),
        "int main(void) {",
        ...lines,
        "  return 0;",
        "}",
      ].join("\n");
      writeFileSync(join(folder, "numbers.c"), source);
      const { status, stderr } = spawnSync("gcc", ["-w", "-o", join(folder, "numbers"), join(folder, "numbers.c")], {
        encoding: "utf8",
      });
      return { status, stderr };
    };
    let names = entries.map(([one]) => one);
    let result = compile(names);
    if (result.status !== 0) {
      // The compiler names all that it does not know at once.
      const unknown = new Set([...result.stderr.matchAll(/[‘'](\w+)[’'] undeclared/g)].map((match) => match[1]));
      names = names.filter((one) => !unknown.has(one));
      expect([...unknown].filter((one) => !NEWER.has(one))).toEqual([]);
      result = compile(names);
    }
    expect(result.stderr).toBe("");
    const theirs = execFileSync(join(folder, "numbers"), { encoding: "utf8" });
    const expected = new Map(
      theirs
        .trim()
        .split("\n")
        .map((line) => line.split(" ") as [string, string]),
    );
    const wrong = entries
      .filter(([one]) => expected.has(one) && !GROWS.test(one))
      .filter(([one, value]) => (value | 0) !== (Number(expected.get(one)) | 0))
      .map(([one, value]) => `${one}: ${value}, header ${expected.get(one)}`);
    expect(wrong).toEqual([]);
    expect(names.length).toBeGreaterThan(15);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
