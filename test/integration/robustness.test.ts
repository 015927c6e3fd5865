/** What clients, devices and signals do to a nokmod that is switching packets. */
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, onTestFinished } from "vitest";
import type { GenlMessage, OvsClient, VportInfo } from "../../src/client/index.ts";
import { decodeVport } from "../../src/client/ovs/vport.ts";
import { connect } from "../../src/client/seqpacket.ts";
import { SeededRandom } from "../../src/core/random.ts";
import { Namespace } from "../../src/lab/namespace.ts";
import { ENODEV } from "../../src/uapi/errno.ts";
import { NETLINK_GENERIC, NETLINK_NETFILTER } from "../../src/uapi/netlink.ts";
import * as ovs from "../../src/uapi/openvswitch.ts";
import * as a from "../support/actions.ts";
import { forkScript, message } from "../support/child.ts";
import { concat, ethernet, frame, hex, ipv4, udp } from "../support/frames.ts";
import { type Host, Lab, match, type PingResult, root, Script, until } from "../support/lab.ts";

describe.skipIf(!root)("nokmod under traffic", () => {
  let lab: Lab;
  let h1: Host;
  let h2: Host;
  let client: OvsClient;
  let dp: number;

  beforeAll(async () => {
    lab = await Lab.create(2, true);
    [h1, h2] = lab.hosts;
    await lab.start();
    client = lab.ovs;
  });
  afterAll(async () => {
    await lab?.close();
  });
  beforeEach(() => {
    dp = lab.datapath();
    client.putFlow(dp, { ...match({ inPort: 1 }), actions: a.output(2) });
    client.putFlow(dp, { ...match({ inPort: 2 }), actions: a.output(1) });
  });
  afterEach(() => {
    lab.clear();
  });

  /** 200 pings in a second, while something is done to nokmod. */
  async function pingWhile(work: () => Promise<void>): Promise<PingResult> {
    const ping = h1.ping(h2.address, "-c", "200", "-i", "0.005");
    await work();
    return ping;
  }

  const everything: PingResult = { status: 0, sent: 200, received: 200 };

  /** Kilobytes of memory that the process holds. */
  function resident(): number {
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${lab.pid}/status`, "utf8"))?.[1]);
  }
  const descriptors = (): number => readdirSync(`/proc/${lab.pid}/fd`).length;

  describe("clients", () => {
    it("garbage on the socket and in messages: no ping is lost", async () => {
      const random = new SeededRandom(10);
      const before = descriptors();
      const lost = await pingWhile(async () => {
        const raw = lab.namespace.execute("/usr/bin/python3", "-c", GARBAGE, lab.socket);
        const own = connect(lab.socket);
        for (const protocol of [NETLINK_GENERIC, NETLINK_NETFILTER]) {
          const socket = own.open(protocol);
          for (let i = 0; i < 300; i++) {
            const bytes = Uint8Array.from({ length: random.u32() % 120 }, () => random.u32());
            const view = new DataView(bytes.buffer);
            // Most of them reach a family: the right length and a type that is in use.
            if (bytes.length >= 16 && i % 4 !== 0) {
              view.setUint32(0, bytes.length, true);
              view.setUint16(4, protocol === NETLINK_GENERIC ? 16 + (i % 12) : 0x100 + (i % 8), true);
              view.setUint16(6, 5 | (view.getUint16(6, true) & 0x300), true);
            }
            try {
              socket.send(bytes);
              while (socket.receive() !== null);
            } catch {
              // Refused, or told that it did not read fast enough.
            }
          }
        }
        own.close();
        const { status, stderr } = await raw;
        expect(status, stderr).toBe(0);
      });
      expect(lost).toEqual(everything);
      expect(client.datapath(dp).stats.flows).toBe(2);
      await until(() => descriptors() <= before + 2, "connections closed");
    });

    it("a client killed half-way through a dump leaves nothing; others dump everything", async () => {
      for (let i = 0; i < 5000; i++) {
        client.putFlow(dp, { ...match({ inPort: 1, recircId: i + 1 }), actions: a.output(2) });
      }
      const before = descriptors();
      const lost = await pingWhile(async () => {
        const child = forkScript("dump-client.ts", [lab.socket, `${dp}`]);
        expect(await message(child)).toBe("half-way");
        expect(descriptors()).toBeGreaterThan(before);
        child.kill("SIGKILL");
        await once(child, "exit");
        expect([...client.flows(dp)].length).toBe(5002);
      });
      expect(lost).toEqual(everything);
      await until(() => descriptors() <= before + 2, "connections closed");
    });

    it("U-033: a reader that never reads loses its own upcalls only, and costs no memory", async () => {
      const lazy = client.openUpcalls();
      const other = client.openUpcalls();
      onTestFinished(() => {
        lazy.close();
        other.close();
      });
      client.setVport(dp, 1, { upcallPids: [lazy.portId] });
      client.setVport(dp, 2, { upcallPids: [other.portId] });
      client.flushFlows(dp);
      // What comes faster than it is switched is lost before it gets here.
      const flood = (missed: number): Promise<void> =>
        until(
          async () => {
            await h1.execute("/usr/bin/python3", "-c", FLOOD, "2000", hex(datagram(h1)));
            return client.datapath(dp).stats.missed >= missed;
          },
          `${missed} missed`,
          20_000,
        );
      await flood(3000);
      const before = resident();
      await flood(25_000);
      await h2.send(datagram(h2), datagram(h2));
      let received = 0;
      await until(() => {
        received += other.drain(() => {});
        return received === 2;
      }, "the other's upcalls");
      const { missed, lost } = client.datapath(dp).stats;
      expect(lost).toBeGreaterThan(20_000);
      expect(client.vport(dp, 1).upcallStats).toEqual({ success: missed - 2 - lost, fail: lost });
      expect(client.vport(dp, 2).upcallStats).toEqual({ success: 2, fail: 0 });
      // 22,000 frames of 1,400 bytes would be 30 MB.
      expect(resident() - before).toBeLessThan(16_000);
    });
  });

  describe("devices", () => {
    /** DEL notifications with their sequence number and port id. */
    function notifications(): { cmd: number; seq: number; pid: number; vport: VportInfo }[] {
      const seen: { cmd: number; seq: number; pid: number; vport: VportInfo }[] = [];
      const subscription = client.genl.subscribe(
        client.families.vport,
        (one: GenlMessage) => seen.push({ cmd: one.command, seq: one.seq, pid: one.pid, vport: decodeVport(one) }),
        ["ovs_vport"],
      );
      onTestFinished(() => subscription.close());
      return seen;
    }

    /** Puts host 2's veth back. */
    function replug(): void {
      lab.namespace.try("ip", "link", "del", h2.device);
      h2.plug(lab.namespace, true);
      h2.namespace.run("ip", "neigh", "replace", h1.address, "lladdr", h1.mac, "dev", "e0");
    }

    it("T-098, T-109: a port's device is deleted: DEL with sequence 0 and port id 0; outputs to it go nowhere", async () => {
      const seen = notifications();
      onTestFinished(replug);
      const result = await pingWhile(async () => {
        await until(async () => (client.vport(dp, 2).stats?.txPackets ?? 0) > 10, "traffic");
        lab.namespace.run("ip", "link", "del", h2.device);
        await until(() => seen.length > 0, "the notification");
      });
      expect(result.received).toBeLessThan(200);
      expect(seen.length).toBe(1);
      expect(seen[0]).toMatchObject({
        cmd: ovs.OVS_VPORT_CMD_DEL,
        seq: 0,
        pid: 0,
        vport: { name: h2.device, portNo: 2, datapath: dp },
      });
      expect(() => client.vport(dp, 2)).toThrow(expect.objectContaining({ errno: ENODEV }));
      expect(client.datapath(dp).stats.flows).toBe(2);
      // A new device of that name is another device.
      replug();
      client.createVport(dp, { name: h2.device, type: ovs.OVS_VPORT_TYPE_NETDEV, portNo: 2 });
      expect(await h1.ping(h2.address)).toMatchObject({ received: 3 });
    });

    it("T-092: moved to another namespace: the port goes, DEL is told; the device can be used there", async () => {
      const N = await Namespace.create();
      const seen = notifications();
      onTestFinished(async () => {
        await N.close();
        replug();
      });
      lab.namespace.run("ip", "link", "set", h2.device, "netns", `${N.pid}`);
      await until(() => seen.length > 0, "the notification");
      expect(seen[0]).toMatchObject({ cmd: ovs.OVS_VPORT_CMD_DEL, seq: 0, pid: 0, vport: { portNo: 2 } });
      N.run("ip", "addr", "add", "10.1.1.9/24", "dev", h2.device);
      N.run("ip", "link", "set", h2.device, "up");
      await until(async () => (await h2.ping("10.1.1.9", "-c", "1")).received === 1, "ping");
    });

    it("A-135, T-110, T-113: down and up again: dropped without error or word; then it goes on", async () => {
      const seen = notifications();
      expect(await h1.ping(h2.address)).toMatchObject({ received: 3 });
      const before = client.vport(dp, 2).stats;
      lab.namespace.run("ip", "link", "set", h2.device, "down");
      expect(await h1.ping(h2.address, "-W", "0.2")).toMatchObject({ received: 0 });
      expect(client.vport(dp, 2).stats).toMatchObject({ txErrors: before?.txErrors, txPackets: before?.txPackets });
      lab.namespace.run("ip", "link", "set", h2.device, "up");
      await until(async () => (await h1.ping(h2.address, "-c", "1", "-W", "0.2")).received === 1, "ping");
      // The other end without carrier is the same.
      h2.namespace.run("ip", "link", "set", "e0", "down");
      expect(await h1.ping(h2.address, "-W", "0.2")).toMatchObject({ received: 0 });
      h2.namespace.run("ip", "link", "set", "e0", "up");
      h2.namespace.run("ip", "neigh", "replace", h1.address, "lladdr", h1.mac, "dev", "e0");
      await until(async () => (await h1.ping(h2.address, "-c", "1", "-W", "0.2")).received === 1, "ping");
      expect(seen).toEqual([]);
    });

    it("T-110: renamed under traffic: not a packet is lost, nothing is told", async () => {
      const seen = notifications();
      const result = await pingWhile(async () => {
        lab.namespace.run("ip", "link", "set", h2.device, "name", "renamed");
        await until(() => client.vport(dp, 2).name === "renamed", "the name");
      });
      onTestFinished(replug);
      lab.namespace.run("ip", "link", "set", "renamed", "name", h2.device);
      expect(result).toEqual(everything);
      expect(seen).toEqual([]);
    });

    it("T-090: a namespace that holds an internal port ends: the port goes, the process stays", async () => {
      const N = await Namespace.create();
      client.createVport(dp, { name: "int7", type: ovs.OVS_VPORT_TYPE_INTERNAL, portNo: 7 });
      lab.namespace.run("ip", "link", "set", "int7", "netns", `${N.pid}`);
      N.run("ip", "link", "set", "int7", "up");
      await N.close();
      await until(() => client.vports(dp).every((one) => one.portNo !== 7), "the port");
      expect(await h1.ping(h2.address)).toMatchObject({ received: 3 });
    });

    it("an internal device that somebody deletes takes its port with it, and nothing else", async () => {
      client.createVport(dp, { name: "int8", type: ovs.OVS_VPORT_TYPE_INTERNAL, portNo: 8 });
      // The real module's device cannot be deleted like this (spec/tables T-080); ours is the kernel's own.
      lab.namespace.run("ip", "link", "del", "int8");
      await until(() => client.vports(dp).every((one) => one.portNo !== 8), "the port");
      expect(await h1.ping(h2.address)).toMatchObject({ received: 3 });
      client.createVport(dp, { name: "int8", type: ovs.OVS_VPORT_TYPE_INTERNAL, portNo: 8 });
      client.deleteVport(dp, 8);
    });

    it("T-111: the local device renamed: the datapath's name in replies follows", async () => {
      lab.namespace.run("ip", "link", "set", "dp0", "name", "dp0new");
      await until(() => client.datapath(dp).name === "dp0new", "the name");
      expect(() => client.datapath("dp0")).toThrow(expect.objectContaining({ errno: ENODEV }));
      expect(await h1.ping(h2.address)).toMatchObject({ received: 3 });
    });

    it("a datapath deleted under traffic, and made again, many times", async () => {
      const ping = h1.ping(h2.address, "-c", "100", "-i", "0.005", "-W", "0.1");
      for (let i = 0; i < 12; i++) {
        client.deleteDatapath(dp);
        dp = lab.datapath();
        client.putFlow(dp, { ...match({ inPort: 1 }), actions: a.output(2) });
        client.putFlow(dp, { ...match({ inPort: 2 }), actions: a.output(1) });
      }
      await ping;
      expect(await h1.ping(h2.address)).toMatchObject({ received: 3 });
      expect(lab.nokmod?.errors).toBe("");
    });
  });

  describe("the process", () => {
    it("a second instance on the same socket is refused and disturbs nothing", async () => {
      const result = await pingWhile(async () => {
        const { status, stderr } = await lab.cli("start", "--socket", lab.socket);
        expect(status).toBe(1);
        expect(stderr).toContain("ERR_ADDRESS_IN_USE");
        expect(stderr).toContain(lab.socket);
      });
      expect(result).toEqual(everything);
      expect(client.datapath(dp).name).toBe("dp0");
    });

    it("without permission it says which is needed", async () => {
      const user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"];
      const { status, stderr } = await lab.cliAs(
        user,
        "start",
        "--socket",
        `/tmp/nokmod-${process.pid}-nobody`,
        "--bridge",
        "br0",
      );
      expect(status).toBe(1);
      expect(stderr).toMatch(/not permitted: CAP_NET_ADMIN is needed/);
      expect(existsSync(`/tmp/nokmod-${process.pid}-nobody`)).toBe(false);
      const path = await lab.cliAs(user, "start", "--socket", `${lab.socket}.other`);
      expect(path.status).toBe(1);
      expect(path.stderr).toContain("ERR_SOCKET_PATH");
    });

    it("a port that is not there, and rules that make no sense: a clear error, nothing left behind", async () => {
      const other = lab.directory.file("other.sock");
      const missing = await lab.cli("start", "--socket", other, "--bridge", "br9", "--port", "nowhere");
      expect(missing.status).toBe(1);
      expect(missing.stderr).toContain("nowhere");
      const rule = await lab.cli("start", "--socket", other, "--bridge", "br9", "--flow", "in_port=1,actions=jump");
      expect(rule.status).toBe(1);
      expect(rule.stderr).toContain("jump");
      expect(existsSync(other)).toBe(false);
      expect(lab.namespace.try("ip", "link", "show", "br9").status).not.toBe(0);
    });

    it("a setting that is not there, or cannot be so: exit code 2, the nearest name, nothing left behind", async () => {
      const other = lab.directory.file("other.sock");
      const start = (setting: string) => lab.cli("start", "--socket", other, "--sysctl", setting);
      const nf = "net.netfilter.nf_conntrack_";
      for (const [setting, says] of [
        [`${nf}tcp_be_librale=1`, `is ${nf}tcp_be_liberal meant?`],
        [`${nf}acct=2`, "from 0 to 1, not 2"],
      ]) {
        const { status, stderr } = await start(setting);
        expect(status, setting).toBe(2);
        expect(stderr).toContain(says);
      }
      expect(existsSync(other)).toBe(false);
    });

    it("T-075: kill -9: devices are as before, and another one can take the socket and the devices over", async () => {
      const state = () =>
        [h1.device, h2.device, ""].map((name) =>
          name === ""
            ? lab.namespace.run("nft", "list", "ruleset")
            : `${/promiscuity \d+/.exec(lab.namespace.run("ip", "-d", "link", "show", name))}
               ${lab.namespace.run("tc", "qdisc", "show", "dev", name)}
               ${lab.namespace.try("tc", "filter", "show", "dev", name, "ingress").stdout}`,
        );
      const owned = state();
      client.deleteDatapath(dp);
      const before = state();
      expect(owned).not.toEqual(before);
      dp = lab.datapath();
      client.createVport(dp, { name: "int9", type: ovs.OVS_VPORT_TYPE_INTERNAL });
      expect(state()).toEqual(owned);
      await lab.stop("SIGKILL");
      await until(() => state().join() === before.join(), "devices as before");
      expect(lab.namespace.try("ip", "link", "show", "int9").status).not.toBe(0);
      expect(lab.namespace.try("ip", "link", "show", "dp0").status).not.toBe(0);
      // The host's own stack has its device again.
      lab.namespace.run("ip", "addr", "add", "10.1.1.200/24", "dev", h2.device);
      await until(async () => (await h2.ping("10.1.1.200", "-c", "1")).received === 1, "ping");
      lab.namespace.run("ip", "addr", "del", "10.1.1.200/24", "dev", h2.device);
      expect(existsSync(lab.socket)).toBe(true);
      await lab.start();
      client = lab.ovs;
      dp = lab.datapath();
      client.putFlow(dp, { ...match({ inPort: 1 }), actions: a.output(2) });
      client.putFlow(dp, { ...match({ inPort: 2 }), actions: a.output(1) });
      expect(await h1.ping(h2.address)).toMatchObject({ received: 3 });
    });

    it("SIGTERM takes everything down in order", async () => {
      await lab.stop();
      expect(lab.nokmod?.child.exitCode).toBe(0);
      expect(existsSync(lab.socket)).toBe(false);
      expect(lab.namespace.try("ip", "link", "show", "dp0").status).not.toBe(0);
      await lab.start();
      client = lab.ovs;
    });
  });

  describe("disks, pipes and signals", () => {
    let here: Lab;
    let left: Host;
    let right: Host;
    let disk: string;
    beforeEach(async () => {
      here = await Lab.create(2, true);
      [left, right] = here.hosts;
      disk = here.directory.file("disk");
      mkdirSync(disk);
    });
    afterEach(async () => {
      await here.close();
    });

    /** A datapath that switches between the two hosts. */
    function forward(): number {
      const made = here.datapath();
      here.ovs.putFlow(made, { ...match({ inPort: 1 }), actions: a.output(2) });
      here.ovs.putFlow(made, { ...match({ inPort: 2 }), actions: a.output(1) });
      return made;
    }

    it("a full disk under --state and --log: said once, no packet lost, the last good file stays, and then it goes on", async () => {
      // A disk of 64 KiB that only nokmod sees: it goes with the mount namespace.
      const mount = `mount -t tmpfs -o size=64k none ${disk} && exec "$0" "$@"`;
      const [state, log] = [join(disk, "state"), join(disk, "log")];
      await here.startBy(["unshare", "--mount", "sh", "-c", mount], "--state", state, "--log", log);
      const inside = (command: string): string =>
        here.namespace.try("nsenter", `--mount=/proc/${here.pid}/ns/mnt`, "sh", "-c", command).stdout;
      const made = forward();
      // The addresses of internal ports come a moment later.
      await until(() => /"devices": \{\s+"/.test(inside(`cat ${state}`)), "addresses");
      const before = inside(`cat ${state}`);
      expect(before).toContain('"p2"');
      inside(`cat /dev/zero > ${disk}/fill; cat /dev/zero > ${disk}/fill2`);
      expect(inside(`df --output=avail ${disk} | tail -1`).trim()).toBe("0");
      const lines = 120;
      const ping = left.ping(right.address, "-c", "200", "-i", "0.005");
      for (let i = 0; i < lines; i++) {
        // Each is a line; what the last page of the file has room for is fewer.
        process.kill(here.pid, "SIGHUP");
        here.ovs.datapaths();
      }
      for (let i = 0; i < 20; i++) {
        here.ovs.createVport(made, { name: `int${i}`, type: ovs.OVS_VPORT_TYPE_INTERNAL });
      }
      expect(await ping).toEqual(everything);
      expect(inside(`cat ${state}`)).toBe(before);
      inside(`rm ${disk}/fill ${disk}/fill2`);
      here.ovs.createVport(made, { name: "last", type: ovs.OVS_VPORT_TYPE_INTERNAL });
      expect(inside(`cat ${state}`)).toMatch(/"int0"[\s\S]*"int19"[\s\S]*"last"/);
      const text = inside(`cat ${log}`);
      expect(text).toMatch(/warn: \d+ lines are missing here: ENOSPC/);
      expect(text).toMatch(/info: state file \S+ is written again, after \d+ failures/);
      expect(here.nokmod?.errors.match(/ENOSPC/g)).toHaveLength(1);
      await here.stop("SIGKILL");
    });

    it("stderr and stdout whose reader has gone: lines are lost, packets are not", async () => {
      await here.start();
      forward();
      here.nokmod?.child.stderr?.destroy();
      here.nokmod?.child.stdout?.destroy();
      const ping = left.ping(right.address, "-c", "200", "-i", "0.005");
      for (let i = 0; i < 20; i++) {
        process.kill(here.pid, "SIGHUP");
        here.ovs.datapaths();
      }
      expect(await ping).toEqual(everything);
      expect(await left.ping(right.address)).toMatchObject({ received: 3 });
      expect(here.nokmod?.ended).toBe(false);
    });

    it("SIGUSR1 opens no inspector; SIGHUP opens the log file anew", async () => {
      const log = join(disk, "log");
      await here.start("--log", log, "--log-json");
      renameSync(log, `${log}.1`);
      process.kill(here.pid, "SIGUSR1");
      process.kill(here.pid, "SIGHUP");
      await until(() => existsSync(log) && readFileSync(log, "utf8").includes("SIGHUP"), "the new log");
      expect(JSON.parse(readFileSync(log, "utf8"))).toMatchObject({ level: "info" });
      expect(readFileSync(`${log}.1`, "utf8")).toContain("nokmod is ready");
      // The inspector would listen by now.
      expect(here.namespace.run("ss", "-ltnH")).toBe("");
      expect(here.nokmod?.errors).toBe("");
      expect(here.nokmod?.ended).toBe(false);
    });

    it("a second start that is refused touches nothing: pidfile, state file, devices", async () => {
      const [state, pidfile] = [join(disk, "state"), join(disk, "pid")];
      await here.start("--state", state, "--pidfile", pidfile);
      const made = forward();
      here.ovs.createVport(made, { name: "int1", type: ovs.OVS_VPORT_TYPE_INTERNAL });
      here.namespace.run("ip", "addr", "add", "10.5.5.1/24", "dev", "int1");
      here.namespace.run("ip", "link", "set", "int1", "up");
      // What it would be made as, if it were made again.
      await until(() => readFileSync(state, "utf8").includes("10.5.5.1/24"), "the address", 20_000);
      here.namespace.run("ip", "addr", "del", "10.5.5.1/24", "dev", "int1");
      const all = (): string[] => [
        readFileSync(pidfile, "utf8"),
        here.namespace.run("ip", "-br", "addr"),
        here.namespace.run("nft", "list", "ruleset"),
      ];
      const before = all();
      const { ino, mtimeMs } = statSync(state);
      const options = ["--socket", here.socket, "--state", state, "--pidfile", pidfile];
      const { status, stderr } = await here.cli("start", ...options);
      expect(status).toBe(1);
      expect(stderr).toContain("ERR_ADDRESS_IN_USE");
      expect(all()).toEqual(before);
      expect(before[0]).toBe(`${here.pid}\n`);
      // Its own next look at the addresses may have come in between.
      if (readFileSync(state, "utf8").includes("10.5.5.1/24")) {
        expect(statSync(state)).toMatchObject({ ino, mtimeMs });
      }
      expect(await left.ping(right.address)).toMatchObject({ received: 3 });
      await here.stop();
      expect(existsSync(pidfile) || existsSync(state)).toBe(false);
    });

    it("a pidfile is no way to write or to remove somebody's file", async () => {
      const [pidfile, other] = [join(disk, "pid"), join(disk, "other")];
      writeFileSync(other, "precious");
      symlinkSync(other, pidfile);
      await here.start("--pidfile", pidfile);
      expect(readFileSync(pidfile, "utf8")).toBe(`${here.pid}\n`);
      writeFileSync(pidfile, "1\n");
      await here.stop();
      expect(readFileSync(other, "utf8")).toBe("precious");
      expect(readFileSync(pidfile, "utf8")).toBe("1\n");
    });

    it("kill -9 right after the answer: what was answered is there again, 24 times of 24", async () => {
      const state = join(disk, "state");
      await here.start("--state", state);
      const { ifindex } = here.ovs.createDatapath("dp0");
      const names: string[] = [];
      for (let i = 0; i < 24; i++) {
        names.push(`int${i}`);
        here.ovs.createVport(ifindex, { name: names[i], type: ovs.OVS_VPORT_TYPE_INTERNAL, portNo: i + 1 });
        process.kill(here.pid, "SIGKILL");
        await here.stop("SIGKILL");
        await here.start("--state", state);
        expect(here.ovs.vports(ifindex).map(({ name }) => name)).toEqual(["dp0", ...names]);
      }
    }, 600_000);

    it("--keep-connections: a TCP connection behind NAT goes on over kill -9", async () => {
      const options = ["--state", join(disk, "state"), "--keep-connections"];
      const bridge = ["--bridge", "br0", "--port", left.device, "--port", right.device];
      const rules = [
        "arp,actions=NORMAL",
        "in_port=1,ip,actions=ct(commit,zone=1,nat(src=10.1.1.240)),2",
        "in_port=2,ip,ct_state=-trk,actions=ct(zone=1,nat,table=1)",
        "table=1,ip,ct_state=+est,actions=1",
      ].flatMap((rule) => ["--flow", rule]);
      const start = () => here.start(...options, ...bridge, ...rules);
      await start();
      right.namespace.run("ip", "neigh", "replace", "10.1.1.240", "lladdr", left.mac, "dev", "e0");
      const server = new Script(right.namespace.startInteractive("/usr/bin/python3", "-u", "-c", ECHO));
      await server.line("ready");
      const client = new Script(left.namespace.startInteractive("/usr/bin/python3", "-u", "-c", SAY, right.address));
      const say = async (word: string): Promise<void> => {
        client.child.stdin?.write(`${word}\n`);
        await client.line(`10.1.1.240 said ${word}`);
      };
      await say("before");
      await here.stop("SIGKILL");
      await start();
      expect(here.nokmod?.errors).toContain("1 connections are restored");
      await say("after");
      await here.stop();
      expect(readdirSync(disk)).toEqual([]);
      for (const script of [client, server]) await script.stop("SIGKILL");
    });

    it("--keep-connections on a disk without room: said, and it starts", async () => {
      const mount = `mount -t tmpfs -o size=64k none ${disk} && exec "$0" "$@"`;
      const options = ["--state", join(disk, "state"), "--keep-connections"];
      await here.startBy(["unshare", "--mount", "sh", "-c", mount], ...options);
      forward();
      expect(await left.ping(right.address)).toMatchObject({ received: 3 });
      // A header of one page fits, records do not.
      const made = here.ovs.datapaths()[0].ifindex;
      here.ovs.flushFlows(made);
      here.ovs.putFlow(made, {
        ...match({ inPort: 1, ethType: 0x0800 }),
        actions: concat(a.ct(a.attr(ovs.OVS_CT_ATTR_COMMIT)), a.output(2)),
      });
      here.ovs.putFlow(made, { ...match({ inPort: 1, ethType: 0x0806 }), actions: a.output(2) });
      here.ovs.putFlow(made, { ...match({ inPort: 2 }), actions: a.output(1) });
      expect(await left.ping(right.address)).toMatchObject({ received: 3 });
      expect(here.nokmod?.errors).toMatch(
        /state\.connections: ENOSPC; of more than 0 connections the others end with nokmod/,
      );
    });

    it("--keep-connections without --state is refused", async () => {
      const { status, stderr } = await here.cli("start", "--socket", here.socket, "--keep-connections");
      expect([status, stderr]).toEqual([
        2,
        "nokmod: --keep-connections needs the path of a state file: give --state FILE (ERR_OPTION)\n",
      ]);
    });

    it("a state file of the wrong shape: says what is wrong where, keeps it aside, starts", async () => {
      const state = join(disk, "state");
      writeFileSync(state, JSON.stringify({ version: 2, boot: "x", datapaths: [{ name: 7 }] }));
      await here.start("--state", state);
      expect(here.nokmod?.errors).toMatch(/warn: not as it was: .*datapaths\[0\]\.name: .*expected string.*bad-1/);
      expect(readFileSync(`${state}.bad-1`, "utf8")).toContain('"name":7');
      forward();
      expect(readFileSync(state, "utf8")).toContain('"p2"');
    });

    it("says which capability is missing, with one code", async () => {
      const { status, stderr } = await here.cliAs(
        ["setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw"],
        ...["start", "--socket", here.socket, "--bridge", "br0", "--port", "p1"],
      );
      expect([status, stderr]).toEqual([1, "nokmod: port p1: not permitted: CAP_NET_RAW is needed (EPERM)\n"]);
      const daemon = await here.cli("start", "--daemon", "--socket", here.socket, "--bridge", "br0", "--port", "no");
      expect([daemon.status, daemon.stderr]).toEqual([1, "nokmod: port no: no such device (ENODEV)\n"]);
      const option = await here.cli("start", "--daemon", "--socket", here.socket, "--port", "p1");
      expect(option.status).toBe(2);
    });

    it("output whose reader has gone ends a command quietly", async () => {
      await here.start();
      forward();
      const { stdout, stderr } = await here.cliAs(
        ["bash", "-c", '"$0" "$@" | true; echo $PIPESTATUS'],
        ...["show", "--socket", here.socket],
      );
      expect([stdout, stderr]).toEqual(["0\n", ""]);
      const full = await here.cliAs(["sh", "-c", '"$0" "$@" > /dev/full'], "show", "--socket", here.socket);
      expect([full.status, full.stderr]).toEqual([1, "nokmod: cannot write the output: ENOSPC\n"]);
    });
  });

  function datagram(from: Host): Uint8Array {
    return frame(
      ethernet({ src: from.mac, dst: "02:00:00:00:00:77" }),
      ipv4({ src: from.address, dst: "10.1.1.99" }),
      udp(),
      "x".repeat(1358),
    );
  }
});

/** Answers each line with the address that it came from; ends with its standard input. */
const ECHO = `
import socket, sys, threading
def serve():
    s = socket.create_server(("", 7000))
    print("ready")
    c, (address, port) = s.accept()
    for line in c.makefile():
        c.send(f"{address} said {line}".encode())
threading.Thread(target=serve, daemon=True).start()
sys.stdin.read()
`;

/** Sends the lines of standard input to argv[1], and prints the answers. */
const SAY = `
import socket, sys
c = socket.create_connection((sys.argv[1], 7000))
answers = c.makefile()
for line in sys.stdin:
    c.send(line.encode())
    print(answers.readline(), end="")
`;

const GARBAGE = `
import random, socket, sys
r = random.Random(7)
for i in range(40):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.connect(sys.argv[1])
    for j in range(10):
        try:
            s.send(bytes(r.getrandbits(8) for _ in range(r.choice([1, 4, 16, 28, 100, 1000]))))
        except OSError:
            break
    s.close()
`;
const FLOOD = `
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("e0", 0))
frame = bytes.fromhex(sys.argv[2])
for i in range(int(sys.argv[1])):
    s.send(frame)
`;
