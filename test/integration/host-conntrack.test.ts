/** What the host's own conntrack has decided shows as ct_state on packets that its stack sends through an internal port. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { Upcall, UpcallSocket } from "../../src/client/index.ts";
import { Namespace } from "../../src/lab/namespace.ts";
import * as ovs from "../../src/uapi/openvswitch.ts";
import * as a from "../support/actions.ts";
import { hex } from "../support/frames.ts";
import { attributes } from "../support/key-cases.ts";
import { type Host, Lab, match, root, Script, until } from "../support/lab.ts";

const INTERNAL = 10;
const TRACKED = ovs.OVS_CS_F_TRACKED;
const NEW = TRACKED | ovs.OVS_CS_F_NEW;
const ESTABLISHED = TRACKED | ovs.OVS_CS_F_ESTABLISHED;

describe.skipIf(!root)("packets of the host's stack", () => {
  let lab: Lab;
  let peer: Host;
  let upcalls: UpcallSocket;
  let dp: number;

  beforeAll(async () => {
    lab = await Lab.create(2, true);
    [, peer] = lab.hosts;
    await lab.start();
    upcalls = lab.ovs.openUpcalls();
    dp = lab.datapath();
    const port = { name: "int0", type: ovs.OVS_VPORT_TYPE_INTERNAL, portNo: INTERNAL, upcallPids: [upcalls.portId] };
    lab.ovs.createVport(dp, port);
    place(lab.namespace, "10.1.1.10");
  });
  afterAll(async () => {
    upcalls?.close();
    await lab?.close();
  });

  /** Gives the internal device an address, and to it and the peer each other's. */
  function place(where: Namespace, address: string): void {
    const mac = /link\/ether ([\da-f:]+)/.exec(where.run("ip", "link", "show", "int0"))?.[1] as string;
    where.run("ip", "link", "set", "int0", "up");
    where.run("ip", "addr", "add", `${address}/24`, "dev", "int0");
    where.run("ip", "neigh", "replace", peer.address, "lladdr", peer.mac, "dev", "int0");
    peer.namespace.run("ip", "neigh", "replace", address, "lladdr", mac, "dev", "e0");
    peer.namespace.run("ip", "neigh", "replace", "10.1.1.99", "lladdr", mac, "dev", "e0");
  }

  beforeEach(() => {
    lab.ovs.flushFlows(dp);
    upcalls.drain(() => {});
    // What comes back goes to the host; what the host sends misses, each packet of it.
    lab.ovs.putFlow(dp, { ...match({ inPort: 2, ethType: 0x0800 }), actions: a.output(INTERNAL) });
  });

  const nft = (rules: string): void => {
    lab.namespace.run("nft", `flush ruleset; table ip t { ${rules} };`);
  };

  const field = (upcall: Upcall, type: number): string | undefined => {
    const found = attributes(upcall.key).find(([one]) => one === type);
    return found && hex(found[1]);
  };
  const word = (upcall: Upcall, type: number): number =>
    Number.parseInt((field(upcall, type) ?? "00000000").replace(/(..)(..)(..)(..)/, "$4$3$2$1"), 16);
  const state = (upcall: Upcall): number => word(upcall, ovs.OVS_KEY_ATTR_CT_STATE);

  /** Sends on what the host sends, and keeps the upcalls, until the command has ended. */
  async function during(command: Promise<unknown>): Promise<Upcall[]> {
    const seen: Upcall[] = [];
    let ended = false;
    const end = command.finally(() => {
      ended = true;
    });
    await until(() => {
      upcalls.drain((one) => {
        const upcall = { ...one, packet: one.packet.slice(), key: one.key.slice() };
        lab.ovs.execute(dp, { packet: upcall.packet, key: upcall.key, actions: a.output(2) });
        if (field(upcall, ovs.OVS_KEY_ATTR_ETHERTYPE) === "0800") seen.push(upcall);
      });
      return ended;
    }, "the command's end");
    await end;
    return seen;
  }

  const ping = (where: Namespace, ...options: string[]): Promise<unknown> =>
    where.execute("ping", "-q", "-c", "2", "-i", "0.1", "-W", "1", ...options, peer.address);

  it("K-269, C-100, C-101: new, then established, with mark and original tuple, as nft's rules have set them", async () => {
    nft("chain o { type filter hook output priority 0; ct state new ct mark set 0x77 accept; };");
    const [first, second] = await during(ping(lab.namespace));
    expect([state(first), state(second)]).toEqual([NEW, ESTABLISHED]);
    expect([word(first, ovs.OVS_KEY_ATTR_CT_MARK), word(second, ovs.OVS_KEY_ATTR_CT_MARK)]).toEqual([0x77, 0x77]);
    // Source, destination, ICMP type and code where ports are, protocol.
    expect(field(second, ovs.OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4)).toMatch(/^0a01010a0a010102(0008|0800)000001/);
  });

  it("C-114: what the host translates shows snat, found by what its answers look like", async () => {
    nft("chain p { type nat hook postrouting priority 100; ip daddr 10.1.1.2 snat to 10.1.1.99; };");
    lab.namespace.run("ip", "addr", "add", "10.1.1.99/32", "dev", "int0");
    const [first, second] = await during(ping(lab.namespace));
    lab.namespace.run("ip", "addr", "del", "10.1.1.99/32", "dev", "int0");
    expect([state(first), state(second)]).toEqual([NEW | ovs.OVS_CS_F_SRC_NAT, ESTABLISHED | ovs.OVS_CS_F_SRC_NAT]);
    expect(field(first, ovs.OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4)?.slice(0, 8)).toBe("0a01010a");
    // Source address of the packet itself.
    expect(field(first, ovs.OVS_KEY_ATTR_IPV4)?.slice(0, 8)).toBe("0a010163");
  });

  it("C-102: the answers of a server on the host are in reply direction", async () => {
    nft("chain i { type filter hook input priority 0; ct state established,new accept; };");
    const server = new Script(
      lab.namespace.start(
        "/usr/bin/python3",
        "-u",
        "-c",
        'import socket; s=socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("10.1.1.10", 777)); print("ready")\nwhile True: d, w = s.recvfrom(99); s.sendto(d, w)',
      ),
    );
    await server.line("ready");
    const ask =
      'import socket; s=socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(3); s.sendto(b"x", ("10.1.1.10", 777)); s.recv(9)';
    const [answer] = await during(peer.execute("/usr/bin/python3", "-c", ask));
    await server.stop();
    expect(state(answer)).toBe(ESTABLISHED | ovs.OVS_CS_F_REPLY_DIR);
  });

  it("untracked packets, and a host that tracks nothing, have no state", async () => {
    nft("chain r { type filter hook output priority -300; ip daddr 10.1.1.2 notrack; };");
    expect((await during(ping(lab.namespace))).map(state)).toEqual([0, 0]);
    lab.namespace.run("nft", "flush ruleset");
    expect((await during(ping(lab.namespace))).map(state)).toEqual([0, 0]);
  });

  it("T-089: a port that was moved shows the state of its new namespace", async () => {
    const tenant = await Namespace.create();
    try {
      lab.namespace.run("ip", "link", "set", "int0", "netns", `${tenant.pid}`);
      place(tenant, "10.1.1.11");
      tenant.run("nft", "table ip t { chain o { type filter hook output priority 0; ct state new accept; }; }");
      await until(() => lab.ovs.vport(dp, INTERNAL).netnsId !== null, "the move to be noticed");
      expect((await during(ping(tenant))).map(state)).toEqual([NEW, ESTABLISHED]);
    } finally {
      await tenant.close();
    }
  });
});
