/** Upcalls of real packets, to sockets of another process than the one that switches them. */
import { afterAll, afterEach, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import type { Connection, OvsClient, Upcall, UpcallSocket } from "../../src/client/index.ts";
import { Errno } from "../../src/core/errors.ts";
import { EEXIST, ENOBUFS } from "../../src/uapi/errno.ts";
import * as ovs from "../../src/uapi/openvswitch.ts";
import * as a from "../support/actions.ts";
import { verifyFrame } from "../support/conntrack.ts";
import { concat, ethernet, frame, hex, ip4, ipv4, u16, udp, vlan } from "../support/frames.ts";
import { attributes } from "../support/key-cases.ts";
import { type Host, Lab, type Match, match, root, until } from "../support/lab.ts";

const IPV4 = 0x0800;
const zone = (id: number): Uint8Array => a.attr(ovs.OVS_CT_ATTR_ZONE, u16(id).reverse());
const commit = a.attr(ovs.OVS_CT_ATTR_COMMIT);
const nat = (...more: Uint8Array[]): Uint8Array => a.attr(ovs.OVS_CT_ATTR_NAT, ...more);
/** Hosts see what is for others, and do not answer it. */
const NOBODY = "02:00:00:00:00:77";
const contains = (bytes: Uint8Array, text: string): boolean => Buffer.from(bytes).includes(text);
/** One attribute of a key, as hex. */
const field = (key: Uint8Array, type: number): string | undefined => {
  const found = attributes(key).find(([one]) => one === type);
  return found && hex(found[1]);
};
const word = (key: Uint8Array, type: number): number =>
  Number.parseInt(field(key, type)?.replace(/(..)(..)(..)(..)/, "$4$3$2$1") ?? "0", 16);

describe.skipIf(!root)("upcalls", () => {
  let lab: Lab;
  let h1: Host;
  let h2: Host;
  let client: OvsClient;
  let dp: number;
  const sockets: UpcallSocket[] = [];

  beforeAll(async () => {
    lab = await Lab.create(2, true);
    [h1, h2] = lab.hosts;
    await lab.start();
    client = lab.ovs;
  });
  afterAll(async () => {
    await lab?.close();
  });
  afterEach(() => {
    lab.clear();
    for (const socket of sockets.splice(0)) socket.close();
  });

  function open(): UpcallSocket {
    const socket = client.openUpcalls();
    sockets.push(socket);
    return socket;
  }

  function flow(what: Match, ...actions: Uint8Array[]): void {
    client.putFlow(dp, { ...match(what), actions: concat(...actions) });
  }

  /** Takes upcalls, copied out of their datagrams, until there are enough of them. */
  async function take(socket: UpcallSocket, count: number): Promise<Upcall[]> {
    const taken: Upcall[] = [];
    await until(() => {
      socket.drain((upcall) => taken.push({ ...upcall, packet: upcall.packet.slice(), key: upcall.key.slice() }));
      return taken.length >= count;
    }, `${count} upcalls`);
    return taken;
  }

  const datagram = (payload: string, o: { src?: number; from?: Host; to?: Host; vid?: number } = {}): Uint8Array => {
    const { from = h1, to = h2, src = 1000, vid } = o;
    return frame(
      ethernet({ src: from.mac, dst: NOBODY }),
      ...(vid === undefined ? [] : [vlan({ vid })]),
      ipv4({ src: from.address, dst: to.address }),
      udp({ src, dst: 2000 }),
      payload,
    );
  };
  const inPort = (port: number): Uint8Array => a.attr(ovs.OVS_KEY_ATTR_IN_PORT, a.le32(port));

  describe("a miss", () => {
    it("U-001…U-006, U-013, U-018, U-023, U-025, U-046: goes to its port's socket with key and frame; EXECUTE sends it on", async () => {
      const one = open();
      const two = open();
      dp = lab.datapath({ userFeatures: ovs.OVS_DP_F_VPORT_PIDS | ovs.OVS_DP_F_UNALIGNED });
      client.setVport(dp, 1, { upcallPids: [one.portId] });
      client.setVport(dp, 2, { upcallPids: [two.portId] });
      const plain = datagram("miss-one");
      const tagged = datagram("miss-tag", { vid: 9 });
      await h1.send(plain, tagged);
      await h2.send(datagram("miss-two", { from: h2, to: h1 }));
      const [first, second] = await take(one, 2);
      const [other] = await take(two, 1);
      expect(first).toMatchObject({ command: ovs.OVS_PACKET_CMD_MISS, datapath: dp, userdata: null, actions: null });
      expect(hex(first.packet)).toBe(hex(plain));
      expect(word(first.key, ovs.OVS_KEY_ATTR_IN_PORT)).toBe(1);
      expect(field(first.key, ovs.OVS_KEY_ATTR_UDP)).toBe("03e807d0");
      // The kernel took the tag out of the frame; it is back.
      expect(hex(second.packet)).toBe(hex(tagged));
      expect(field(second.key, ovs.OVS_KEY_ATTR_VLAN)).toBe("1009");
      expect(word(other.key, ovs.OVS_KEY_ATTR_IN_PORT)).toBe(2);
      expect(client.datapath(dp).stats).toMatchObject({ hit: 0, missed: 3, lost: 0 });
      expect(client.vport(dp, 1).upcallStats).toEqual({ success: 2, fail: 0 });
      const seen = await h2.capture();
      client.execute(dp, { packet: first.packet, key: first.key, actions: a.output(2) });
      expect((await seen.wait((bytes) => contains(bytes, "miss-"))).map(hex)).toEqual([hex(plain)]);
      await seen.stop();
    });

    it("U-026, U-034, U-059: one of several sockets by the flow's hash, the same for both directions", async () => {
      const several = [open(), open()];
      const pids = several.map((socket) => socket.portId);
      dp = lab.datapath({ userFeatures: ovs.OVS_DP_F_VPORT_PIDS }, pids);
      const flows = Array.from({ length: 24 }, (_, i) => 3000 + i);
      await h1.send(...flows.flatMap((src) => [datagram("hashed", { src }), datagram("hashed", { src })]));
      const reverse = flows.map((port) =>
        frame(
          ethernet({ src: h2.mac, dst: NOBODY }),
          ipv4({ src: h2.address, dst: h1.address }),
          udp({ src: 2000, dst: port }),
          "hashed",
        ),
      );
      await h2.send(...reverse);
      const places = new Map<number, Set<number>>();
      let count = 0;
      await until(() => {
        for (const [index, socket] of several.entries()) {
          count += socket.drain(({ packet, key, hash }) => {
            const view = new DataView(packet.buffer, packet.byteOffset);
            const port = word(key, ovs.OVS_KEY_ATTR_IN_PORT) === 1 ? view.getUint16(34) : view.getUint16(36);
            places.set(port, (places.get(port) ?? new Set()).add(index));
            expect(hash).not.toBe(0);
          });
        }
        return count === 72;
      }, "72 upcalls");
      for (const [port, indexes] of places) expect(indexes.size, `${port}`).toBe(1);
      expect(new Set([...places.values()].flatMap((set) => [...set])).size).toBeGreaterThan(1);
      const [last] = [open()];
      client.setVport(dp, 1, { upcallPids: [last.portId] });
      await h1.send(datagram("moved"));
      expect(contains((await take(last, 1))[0].packet, "moved")).toBe(true);
    });

    it("U-027: per-CPU dispatch: to a socket of the datapath's list, whatever the port says; actions too", async () => {
      const ofPort = open();
      const ofCpu = open();
      dp = lab.datapath({ userFeatures: ovs.OVS_DP_F_DISPATCH_UPCALL_PER_CPU, perCpuPids: [ofCpu.portId] }, [
        ofPort.portId,
      ]);
      flow({ inPort: 2, ethType: IPV4 }, a.userspace(ofPort.portId));
      await h1.send(datagram("by-cpu"));
      await h2.send(datagram("by-cpu", { from: h2, to: h1 }));
      const commands = (await take(ofCpu, 2)).map((upcall) => upcall.command);
      expect(commands.sort()).toEqual([ovs.OVS_PACKET_CMD_MISS, ovs.OVS_PACKET_CMD_ACTION]);
      expect(ofPort.drain(() => {})).toBe(0);
    });

    it("U-019, U-029: after recirculation the key has recirc_id and connection state, and goes to the port it came by", async () => {
      const socket = open();
      dp = lab.datapath({}, [socket.portId]);
      flow({ inPort: 1, ethType: IPV4 }, a.ct(commit, zone(51)), a.recirc(0x77));
      await h1.send(datagram("around"));
      const [{ key, command }] = await take(socket, 1);
      expect(command).toBe(ovs.OVS_PACKET_CMD_MISS);
      expect(word(key, ovs.OVS_KEY_ATTR_RECIRC_ID)).toBe(0x77);
      expect(word(key, ovs.OVS_KEY_ATTR_CT_STATE)).toBe(0x21);
      expect(field(key, ovs.OVS_KEY_ATTR_CT_ZONE)).toBe("3300");
      expect(word(key, ovs.OVS_KEY_ATTR_IN_PORT)).toBe(1);
    });

    it("U-048, U-050, U-052, U-087: TCP of 64 KiB comes in segments with right checksums, one key, in order; all of it arrives", async () => {
      const socket = open();
      socket.socket.setReceiveBuffer(8 << 20);
      dp = lab.datapath({}, [socket.portId]);
      flow({ inPort: 2 }, a.output(1));
      const server = await h2.python(SINK);
      const sending = h1.execute("/usr/bin/python3", "-c", SOURCE, h2.address, "300000");
      const sizes: number[] = [];
      const keys = new Map<string, number>();
      let wrong = "";
      // Never a flow: every packet comes up and goes out by EXECUTE.
      await until(() => {
        socket.drain(({ packet, key }) => {
          sizes.push(packet.length);
          try {
            verifyFrame(packet);
          } catch (error) {
            wrong = `${error}: ${hex(packet)}`;
          }
          const text = hex(key);
          keys.set(text, (keys.get(text) ?? 0) + 1);
          client.execute(dp, { packet, key, actions: a.output(2) });
        });
        return server.output.includes("end");
      }, "the transfer");
      expect((await sending).stderr).toBe("");
      await server.line("300000 bytes, sum right, end");
      await server.stop();
      await until(() => h1.namespace.run("ss", "-Htan") === "", "the reset");
      expect(wrong).toBe("");
      expect(Math.max(...sizes)).toBeLessThanOrEqual(1514);
      expect(sizes.length).toBeGreaterThan(200);
      // Segments of one super-packet are one miss.
      const { missed, lost } = client.datapath(dp).stats;
      expect(lost).toBe(0);
      expect(missed).toBeLessThan(sizes.length / 2);
    });
  });

  describe("losses", () => {
    it("U-021, U-031, U-032, U-037, U-039, U-045: port id 0, or one without socket: lost, and the action list goes on", async () => {
      const gone = open();
      const pid = gone.portId;
      gone.close();
      dp = lab.datapath({}, [0]);
      client.setVport(dp, 2, { upcallPids: [pid] });
      flow({ inPort: 1, ethType: IPV4 }, a.userspace(pid), a.output(2));
      const seen = await h2.capture();
      await h1.send(datagram("goes-on"), datagram("no-flow", { vid: 1 }));
      await h2.send(datagram("nobody", { from: h2, to: h1 }));
      await seen.wait((bytes) => contains(bytes, "goes-on"));
      await seen.stop();
      await until(() => client.datapath(dp).stats.lost === 3, "3 lost");
      expect(client.datapath(dp).stats).toMatchObject({ hit: 1, missed: 2 });
      expect(client.vport(dp, 1).upcallStats).toEqual({ success: 0, fail: 1 });
      expect(client.vport(dp, 2).upcallStats).toEqual({ success: 0, fail: 1 });
    });

    it("U-033, U-036, U-038, U-084: a full reader loses what does not fit, is told ENOBUFS once, and others lose nothing", async () => {
      const lazy = open();
      const other = open();
      lazy.socket.setReceiveBuffer(20_000);
      dp = lab.datapath({ userFeatures: ovs.OVS_DP_F_VPORT_PIDS }, [lazy.portId]);
      client.setVport(dp, 2, { upcallPids: [other.portId] });
      const total = 200;
      const packets = Array.from({ length: total }, (_, i) => datagram(`full-${i}`.padEnd(1000), { src: i + 1 }));
      await h1.send(...packets);
      await h2.send(...packets.slice(0, 20).map((_, i) => datagram(`well-${i}`, { from: h2, to: h1 })));
      await until(() => client.datapath(dp).stats.missed === total + 20, "all missed");
      expect((await take(other, 20)).length).toBe(20);
      expect(other.lost).toBe(0);
      let taken = 0;
      let told = 0;
      const read = (): boolean => {
        try {
          if (lazy.socket.receive() === null) return false;
          taken++;
        } catch (error) {
          expect(error).toBeInstanceOf(Errno);
          expect((error as Errno).errno).toBe(ENOBUFS);
          told++;
        }
        return true;
      };
      await until(() => {
        while (read());
        return told > 0 && taken + client.datapath(dp).stats.lost === total;
      }, "ENOBUFS");
      while (read());
      const { lost } = client.datapath(dp).stats;
      expect(told).toBe(1);
      expect(taken).toBeGreaterThan(0);
      expect(lost).toBe(total - taken);
      expect(lost).toBeGreaterThan(total / 2);
      expect(client.vport(dp, 1).upcallStats).toEqual({ success: taken, fail: lost });
      // Read empty, it is served again.
      await h1.send(datagram("again"));
      expect(contains((await take(lazy, 1))[0].packet, "again")).toBe(true);
    });
  });

  describe("actions", () => {
    it("U-007, U-009, U-011, U-028, U-053, U-055: userspace() with userdata, the list, and what trunc left", async () => {
      const miss = open();
      const action = open();
      dp = lab.datapath({}, [miss.portId]);
      const userdata = a.attr(ovs.OVS_USERSPACE_ATTR_USERDATA, Uint8Array.of(1, 2, 3, 4, 5));
      const list = [
        a.setUdp(1000, 4444),
        a.trunc(50),
        a.userspace(action.portId, userdata, a.attr(ovs.OVS_USERSPACE_ATTR_ACTIONS)),
        a.output(2),
      ];
      flow({ inPort: 1, ethType: IPV4 }, a.output(2));
      client.flushFlows(dp);
      const exact = datagram("to-userspace");
      await h1.send(exact);
      const [{ key }] = await take(miss, 1);
      client.putFlow(dp, { key, actions: concat(...list) });
      const seen = await h2.capture();
      await h1.send(exact);
      const [upcall] = await take(action, 1);
      const changed = frame(
        ethernet({ src: h1.mac, dst: NOBODY }),
        ipv4({ src: h1.address, dst: h2.address }),
        udp({ src: 1000, dst: 4444 }),
        "to-userspace",
      );
      expect(upcall.command).toBe(ovs.OVS_PACKET_CMD_ACTION);
      expect(hex(upcall.packet)).toBe(hex(changed.subarray(0, 50)));
      expect(upcall.length).toBe(changed.length);
      expect(upcall.userdata).toEqual(Uint8Array.of(1, 2, 3, 4, 5));
      expect(hex(upcall.actions ?? new Uint8Array())).toBe(hex(concat(...list)));
      expect(field(upcall.key, ovs.OVS_KEY_ATTR_UDP)).toBe("03e8115c");
      expect((await seen.wait((bytes) => contains(bytes, "to-user"))).map(hex)).toEqual([hex(changed)]);
      await seen.stop();
    });
  });

  describe("EXECUTE", () => {
    it("U-064, U-073, U-076, U-077: gives mark, priority and state of the key back to the packet", async () => {
      const socket = open();
      dp = lab.datapath({}, [socket.portId]);
      const key = concat(
        a.attr(ovs.OVS_KEY_ATTR_PRIORITY, a.le32(11)),
        inPort(1),
        a.attr(ovs.OVS_KEY_ATTR_SKB_MARK, a.le32(22)),
        a.attr(ovs.OVS_KEY_ATTR_DP_HASH, a.le32(33)),
        a.attr(ovs.OVS_KEY_ATTR_RECIRC_ID, a.le32(44)),
        a.attr(ovs.OVS_KEY_ATTR_CT_STATE, a.le32(0x22)),
        a.attr(ovs.OVS_KEY_ATTR_CT_MARK, a.le32(55)),
      );
      client.execute(dp, { packet: datagram("meta", { vid: 3 }), key, actions: a.recirc(9) });
      const [upcall] = await take(socket, 1);
      const values = [
        [ovs.OVS_KEY_ATTR_PRIORITY, 11],
        [ovs.OVS_KEY_ATTR_IN_PORT, 1],
        [ovs.OVS_KEY_ATTR_SKB_MARK, 22],
        [ovs.OVS_KEY_ATTR_DP_HASH, 33],
        [ovs.OVS_KEY_ATTR_RECIRC_ID, 9],
        [ovs.OVS_KEY_ATTR_CT_STATE, 0x22],
        [ovs.OVS_KEY_ATTR_CT_MARK, 55],
      ];
      for (const [type, value] of values) expect(word(upcall.key, type), `${type}`).toBe(value);
      expect(hex(upcall.packet)).toBe(hex(datagram("meta", { vid: 3 })));
    });

    it("U-024, U-075, U-078: late, repeated and forgotten answers", async () => {
      const socket = open();
      dp = lab.datapath({}, [socket.portId]);
      await h1.send(datagram("twice"), datagram("twice"));
      const [first, second] = await take(socket, 2);
      // Two of one flow: the second put finds the first's flow.
      client.putFlow(dp, { key: first.key, actions: a.output(2) });
      expect(() => client.putFlow(dp, { key: second.key, actions: a.output(2) })).toThrow(
        expect.objectContaining({ errno: EEXIST }),
      );
      const seen = await h2.capture();
      const execute = () => client.execute(dp, { packet: first.packet, key: first.key, actions: a.output(2) });
      execute();
      execute();
      await seen.wait((bytes) => contains(bytes, "twice"), 2);
      // Its port has gone meanwhile: it is sent all the same; a port that has gone takes nothing.
      client.deleteVport(dp, 1);
      execute();
      await seen.wait((bytes) => contains(bytes, "twice"), 3);
      client.execute(dp, { packet: first.packet, key: first.key, actions: concat(a.output(1), a.output(2)) });
      await seen.wait((bytes) => contains(bytes, "twice"), 4);
      await seen.stop();
    });

    it("U-079, U-080, U-010: a datagram that ct put together comes whole with MRU, and is cut again if that is given back", async () => {
      const socket = open();
      dp = lab.datapath({}, [socket.portId]);
      flow({ inPort: 1, ethType: IPV4 }, a.ct(commit, zone(52)), a.recirc(1));
      onTestFinished(() => lab.conntrack().flush(52));
      const ping = h1.execute("ping", "-c", "1", "-W", "1", "-s", "4000", h2.address);
      const [upcall] = await take(socket, 1);
      expect(upcall.packet.length).toBe(14 + 20 + 8 + 4000);
      expect(upcall.mru).toBe(1500);
      const seen = await h2.capture("icmp or (ip[6:2] & 0x1fff != 0)");
      const again = { packet: upcall.packet, key: upcall.key, actions: a.output(2) };
      client.execute(dp, again);
      client.execute(dp, { ...again, mru: upcall.mru ?? 0 });
      const pieces = await seen.wait(
        (bytes) => bytes.length > 100 && hex(bytes.subarray(6, 12)) === h1.mac.replaceAll(":", ""),
        3,
      );
      expect(pieces.map((bytes) => bytes.length)).toEqual([1514, 1514, 14 + 20 + 4008 - 2960]);
      expect(client.vport(dp, 2).stats?.txErrors).toBe(1);
      await seen.stop();
      await ping;
    });
  });

  describe("connections across an upcall", () => {
    function connections(id: number): Connection[] {
      const conntrack = lab.conntrack();
      const found = [...conntrack.connections({ zone: id })];
      conntrack.close();
      return found;
    }

    it("C-385, C-386: a translated packet that comes back finds its connection, not another", async () => {
      const socket = open();
      dp = lab.datapath({}, [socket.portId]);
      const source = nat(a.attr(ovs.OVS_NAT_ATTR_SRC), a.attr(ovs.OVS_NAT_ATTR_IP_MIN, ip4("10.1.1.55")));
      flow({ inPort: 1, ethType: IPV4 }, a.ct(commit, zone(61), source), a.recirc(1));
      await h1.send(datagram("nat-up"));
      const [upcall] = await take(socket, 1);
      const translated = frame(
        ethernet({ src: h1.mac, dst: NOBODY }),
        ipv4({ src: "10.1.1.55", dst: h2.address }),
        udp({ src: 1000, dst: 2000 }),
        "nat-up",
      );
      expect(hex(upcall.packet)).toBe(hex(translated));
      expect(word(upcall.key, ovs.OVS_KEY_ATTR_CT_STATE)).toBe(0x61);
      const [before] = connections(61);
      const actions = concat(a.ct(zone(61), nat()), a.recirc(2));
      client.execute(dp, { packet: upcall.packet, key: upcall.key, actions });
      const [again] = await take(socket, 1);
      expect(word(again.key, ovs.OVS_KEY_ATTR_CT_STATE)).toBe(0x61);
      expect(hex(again.packet)).toBe(hex(translated));
      const after = connections(61);
      expect(after.map(({ id }) => id)).toEqual([before.id]);
      expect(after[0].reply).toMatchObject({ src: h2.address, dst: "10.1.1.55" });
      // The original packet once more is the same connection, still without an answer.
      await h1.send(datagram("nat-up"));
      await take(socket, 1);
      expect(connections(61).length).toBe(1);
    });

    it("C-387: the connection deleted meanwhile: the packet begins a new one", async () => {
      const socket = open();
      dp = lab.datapath({}, [socket.portId]);
      flow({ inPort: 1, ethType: IPV4 }, a.ct(commit, zone(62)), a.recirc(1));
      await h1.send(datagram("deleted"));
      const [upcall] = await take(socket, 1);
      const [before] = connections(62);
      const conntrack = lab.conntrack();
      conntrack.delete(before);
      conntrack.close();
      expect(connections(62)).toEqual([]);
      client.execute(dp, {
        packet: upcall.packet,
        key: upcall.key,
        actions: concat(a.ct(commit, zone(62)), a.recirc(2)),
      });
      const [again] = await take(socket, 1);
      expect(word(again.key, ovs.OVS_KEY_ATTR_CT_STATE)).toBe(0x21);
      const after = connections(62);
      expect(after.length).toBe(1);
      expect(after[0].original).toEqual(before.original);
    });
  });
});

const SOURCE = `
import socket, sys
s = socket.create_connection((sys.argv[1], 9000))
s.sendall(bytes(i * 7 & 255 for i in range(int(sys.argv[2]))))
s.close()
`;
const SINK = `
import socket, struct
s = socket.create_server(("0.0.0.0", 9000))
print("ready")
c, _ = s.accept()
data = b""
while True:
    more = c.recv(65536)
    if not more: break
    data += more
# A reset: neither end may send again what got no answer, into the next test.
c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
c.close()
right = data == bytes(i * 7 & 255 for i in range(len(data)))
print("%d bytes, sum %s, end" % (len(data), "right" if right else "wrong"))
`;
