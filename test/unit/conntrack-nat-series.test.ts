import { afterEach, describe, expect, it, vi } from "vitest";
import type { CtAction } from "../../src/conntrack/action.ts";
import type { isCached } from "../../src/conntrack/cached.ts";
import type { Conntrack } from "../../src/conntrack/conntrack.ts";
import type { updateKey } from "../../src/conntrack/ct-key.ts";
import type { findExisting } from "../../src/conntrack/existing.ts";
import type { callHelper } from "../../src/conntrack/help.ts";
import { E } from "../../src/conntrack/layout.ts";
import type { lookup } from "../../src/conntrack/lookup.ts";
import type { track } from "../../src/conntrack/track.ts";
import type { trackTcp } from "../../src/conntrack/trackers/tcp/track.ts";
import { Verdict } from "../../src/conntrack/trackers/verdict.ts";
import type { translate } from "../../src/conntrack/translate.ts";
import { Errno } from "../../src/core/errors.ts";
import { K } from "../../src/flow/key.ts";
import { EINVAL } from "../../src/uapi/errno.ts";
import { IP_CT_ESTABLISHED_REPLY, IP_CT_NEW, IPS_CONFIRMED } from "../../src/uapi/nfnetlink.ts";
import { OVS_CS_F_NEW } from "../../src/uapi/openvswitch.ts";
import { verifyFrame } from "../support/conntrack.ts";
import { CtObserver, type CtWords, type Seen } from "../support/ct-observer.ts";
import { ethernet, frame, hex, icmp, ipv4, tcp, udp } from "../support/frames.ts";

/**
 * The eight changes of the series "openvswitch: NAT support" (Linux 4.6; spec/conntrack section 19), each as somebody
 * outside sees it. Every check runs twice: on nokmod, where it must hold, and on a connection tracking put back to what
 * it was before the change, where it must not.
 */

const A = "10.1.1.1";
const B = "10.1.2.2";
const PUBLIC = "192.0.2.1";

/** The steps of connection tracking that a test replaces to undo a change; as they are otherwise. */
interface Steps {
  callHelper: typeof callHelper;
  findExisting: typeof findExisting;
  isCached: typeof isCached;
  lookup: typeof lookup;
  track: typeof track;
  trackTcp: typeof trackTcp;
  translate: typeof translate;
  updateKey: typeof updateKey;
}
const { real, steps, replaceable } = vi.hoisted(() => {
  const real = {} as Steps;
  const steps = {} as Steps;
  const replaceable = (name: keyof Steps) => async (original: () => Promise<unknown>) => {
    const module = (await original()) as Steps;
    Object.assign(real, { [name]: module[name] });
    Object.assign(steps, { [name]: module[name] });
    return { ...module, [name]: (...of: unknown[]) => (steps[name] as (...of: unknown[]) => unknown)(...of) };
  };
  return { real, steps, replaceable };
});
vi.mock("../../src/conntrack/cached.ts", replaceable("isCached"));
vi.mock("../../src/conntrack/ct-key.ts", replaceable("updateKey"));
vi.mock("../../src/conntrack/existing.ts", replaceable("findExisting"));
vi.mock("../../src/conntrack/help.ts", replaceable("callHelper"));
vi.mock("../../src/conntrack/lookup.ts", replaceable("lookup"));
vi.mock("../../src/conntrack/track.ts", replaceable("track"));
vi.mock("../../src/conntrack/trackers/tcp/track.ts", replaceable("trackTcp"));
vi.mock("../../src/conntrack/translate.ts", replaceable("translate"));
afterEach(() => {
  Object.assign(steps, real);
});
type Before = (conntrack: Conntrack) => void;

/** A test of one change: `check` holds, and fails with the change undone. */
function change(title: string, check: (o: CtObserver) => void, before: Before): void {
  it(title, () => {
    check(new CtObserver());
    const undone = new CtObserver(before);
    expect(() => check(undone), "the check must fail without the change").toThrow();
  });
}

const udpTo = (payload = "hello"): Uint8Array =>
  frame(ethernet(), ipv4({ src: A, dst: B }), udp({ src: 1000, dst: 53 }), payload);
const udpFrom = (to = A, payload = "world"): Uint8Array =>
  frame(ethernet(), ipv4({ src: B, dst: to }), udp({ src: 53, dst: 1000 }), payload);
const tcpTo = (flags: number, seq: number, ack = 0, data = "", dport = 21): Uint8Array =>
  frame(ethernet(), ipv4({ src: A, dst: B }), tcp({ src: 1000, dst: dport, flags, seq, ack }), data);
const tcpFrom = (flags: number, seq: number, ack: number, data = "", to = A, sport = 21): Uint8Array =>
  frame(ethernet(), ipv4({ src: B, dst: to }), tcp({ src: sport, dst: 1000, flags, seq, ack }), data);
const tftp = frame(ethernet(), ipv4({ src: A, dst: B }), udp({ src: 1000, dst: 69 }), "\0\x01file\0octet\0");
const addresses = (bytes: Uint8Array): string =>
  `${[...bytes.slice(26, 30)].join(".")}>${[...bytes.slice(30, 34)].join(".")}`;

const COMMIT: CtWords = { commit: true };
const SNAT: CtWords = { commit: true, src: PUBLIC };
const NAT: CtWords = { nat: true };

describe("1. remove IP_CT_NEW_REPLY", () => {
  change(
    "C-371 to C-373: the first reply is est|rpl, and no packet is ever new|rpl",
    (o) => {
      const states = [o.send(udpTo(), COMMIT), o.send(udpFrom(), {}), o.send(udpTo(), {}), o.send(udpFrom(), {})].map(
        (up) => up.state,
      );
      expect(states).toEqual(["new|trk", "est|rpl|trk", "est|trk", "est|rpl|trk"]);
    },
    () => {
      // The constant existed, and openvswitch would have made new|rpl of it.
      steps.updateKey = (words, packet, key, zone) => {
        real.updateKey(words, packet, key, zone);
        if (packet.ctInfo === IP_CT_ESTABLISHED_REPLY) key[K.CT] |= OVS_CS_F_NEW;
      };
    },
  );
});

describe("2. factor out nf_ct_get_info", () => {
  change(
    "C-374 to C-376: a packet that comes back from user space is what it was on the direct path",
    (o) => {
      o.send(udpTo(), SNAT);
      const reply = udpFrom(PUBLIC);
      const kinds: [string, Uint8Array, CtWords][] = [
        ["reply", reply, NAT],
        ["original", udpTo(), NAT],
      ];
      for (const [kind, packet, action] of kinds) {
        const direct = o.send(packet, {}, action);
        const back = o.resume(o.send(packet, {}), action);
        expect([back.state, hex(back.packet)], kind).toEqual([direct.state, hex(direct.packet)]);
      }
    },
    () => {
      // Without the shared rule there was nothing to tell an existing entry's direction by.
      steps.findExisting = (ct, packet, key, action) => {
        const found = real.findExisting(ct, packet, key, action);
        if (found) packet.ctInfo = IP_CT_NEW;
        return found;
      };
    },
  );

  it("C-376: new, established, reply, expected and ICMP error: the same state directly and after an upcall", () => {
    const o = new CtObserver();
    const both = (packet: Uint8Array, first: CtWords): string => {
      const up = o.send(packet, first);
      expect(o.resume(up, { zone: first.zone }).state).toBe(up.state);
      return up.state;
    };
    expect(both(udpTo(), {})).toBe("new|trk");
    expect(both(udpTo(), COMMIT)).toBe("new|trk");
    expect(both(udpFrom(), {})).toBe("est|rpl|trk");
    expect(both(udpTo(), {})).toBe("est|trk");
    const error = frame(
      ethernet(),
      ipv4({ src: "10.9.9.9", dst: A }),
      icmp({ type: 3, code: 3, rest: 0 }),
      udpTo().slice(14),
    );
    // An error has a tuple of no connection: after an upcall it is tracked again, to the same end.
    expect(both(error, {})).toBe("rel|rpl|trk");
    o.send(tftp, { commit: true, helper: "tftp" });
    const data = frame(ethernet(), ipv4({ src: B, dst: A }), udp({ src: 3333, dst: 1000 }), "\0\x03\0\x01x");
    expect(both(data, {})).toBe("new|rel|trk");
    expect(both(data, COMMIT)).toBe("new|rel|trk");
    expect(both(data, {})).toBe("rel|trk");
  });
});

describe("3. allow calling into nat helper without skb_dst", () => {
  change(
    "C-377 to C-379: an FTP command rewritten without a route has right checksums and length",
    (o) => {
      o.send(tcpTo(2, 100), { ...SNAT, helper: "ftp" });
      o.send(tcpFrom(0x12, 500, 101, "", PUBLIC), NAT);
      o.send(tcpTo(0x10, 101, 501), NAT);
      o.send(tcpFrom(0x18, 501, 101, "220 hi\r\n", PUBLIC), NAT);
      o.send(tcpTo(0x18, 101, 509, "USER x\r\n"), NAT);
      const port = o.send(tcpTo(0x18, 109, 509, "PORT 10,1,1,1,7,208\r\n"), NAT);
      expect(new TextDecoder().decode(port.packet.slice(54))).toBe("PORT 192,0,2,1,7,208\r\n");
      expect(new DataView(port.packet.buffer, port.packet.byteOffset).getUint16(16)).toBe(port.packet.length - 14);
      verifyFrame(port.packet);
    },
    () => {
      // The checksum was left to a device that the packet had no route to.
      steps.callHelper = (ct, packet, slot, family) => {
        const length = packet.len;
        const sum = packet.memory.view.getUint16(packet.l3 + 20 + 16);
        const good = real.callHelper(ct, packet, slot, family);
        if (packet.len !== length) packet.memory.view.setUint16(packet.l3 + 20 + 16, sum);
        return good;
      };
    },
  );
});

describe("4. update the CT state key only after nf_conntrack_in", () => {
  change(
    "C-380 to C-382: a second ct in the zone keeps the NAT bits, after recirculation and after an upcall",
    (o) => {
      expect(o.send(udpTo(), SNAT).state).toBe("new|trk|snat");
      o.send(udpFrom(PUBLIC), NAT);
      expect(o.send(udpTo(), NAT, {}).state).toBe("est|trk|snat");
      expect(o.resume(o.send(udpTo(), NAT), {}).state).toBe("est|trk|snat");
      expect(o.resume(o.send(udpFrom(PUBLIC), NAT), {}).state).toBe("est|rpl|trk|dnat");
    },
    () => {
      steps.isCached = (ct, packet, key, action) => {
        const cached = real.isCached(ct, packet, key, action);
        if (cached) real.updateKey(ct.table.words, packet, key, action.zone);
        return cached;
      };
    },
  );
});

describe("5. find existing conntrack entry after upcall", () => {
  const forgets: Before = () => {
    steps.findExisting = () => false;
  };

  change(
    "C-383 to C-385: a packet that goes by way of user space is counted once",
    (o) => {
      o.send(udpTo(), COMMIT);
      const up = o.send(udpFrom(), {});
      expect(o.counted).toEqual([1, 1]);
      expect(o.resume(up, {}).state).toBe("est|rpl|trk");
      expect(o.resume(up, { mark: 5, commit: true }).mark).toBe(5);
      expect(o.counted).toEqual([1, 1]);
    },
    forgets,
  );

  change(
    "C-386: translated before the upcall, either way, it finds the same entry",
    (o) => {
      const out = o.send(udpTo(), SNAT);
      expect(addresses(out.packet)).toBe(`${PUBLIC}>${B}`);
      expect(o.resume(out, {}).state).toBe("new|trk|snat");
      expect(o.resume(out, COMMIT).state).toBe("new|trk|snat");
      const back = o.send(udpFrom(PUBLIC), NAT);
      expect(addresses(back.packet)).toBe(`${B}>${A}`);
      expect(o.resume(back, NAT).state).toBe("est|rpl|trk|dnat");
      expect(o.lines).toEqual([
        `udp,orig=(src=${A},dst=${B},sport=1000,dport=53),reply=(src=${B},dst=${PUBLIC},sport=53,dport=1000)`,
      ]);
      expect(o.counted).toEqual([1, 1]);
    },
    forgets,
  );

  change(
    "C-081, C-386: source and destination translated both: found from either side",
    (o) => {
      const server = "192.0.2.8";
      const out = o.send(udpTo(), { commit: true, dst: server });
      expect([out.state, addresses(out.packet)]).toEqual(["new|trk|snat|dnat", `${A}>${server}`]);
      expect(o.resume(out, COMMIT).state).toBe("new|trk|snat|dnat");
      const reply = frame(ethernet(), ipv4({ src: server, dst: A }), udp({ src: 53, dst: 1000 }), "world");
      const back = o.send(reply, NAT);
      expect([back.state, addresses(back.packet)]).toEqual(["est|rpl|trk|snat", `${B}>${A}`]);
      expect(o.resume(back, NAT).state).toBe("est|rpl|trk|snat");
      expect(o.connections).toHaveLength(1);
      expect(o.counted).toEqual([1, 1]);
    },
    forgets,
  );

  change(
    "C-084, C-376: committed by another packet while the first waits: the first one joins that connection uncounted",
    (o) => {
      const first = o.send(udpTo("first"), {});
      expect(first.state).toBe("new|trk");
      o.send(udpTo("second"), { commit: true, mark: 9 });
      o.send(udpFrom(), {});
      // No entry was committed when the first was looked up; the one that is there now is its own.
      const again = o.resume(first, { commit: true, mark: 4 });
      expect(again.mark).toBe(4);
      expect(o.connections).toHaveLength(1);
      expect(o.counted).toEqual([1, 1]);
    },
    forgets,
  );

  it("C-082, C-387: the entry gone meanwhile: tracked as new, and committed as any other", () => {
    const o = new CtObserver();
    o.send(udpTo(), SNAT);
    const up = o.send(udpFrom(PUBLIC), {});
    o.client.flush();
    const again = o.resume(up, COMMIT);
    expect(again.state).toBe("new|trk");
    expect(o.lines).toEqual([
      `udp,orig=(src=${B},dst=${PUBLIC},sport=53,dport=1000),reply=(src=${PUBLIC},dst=${B},sport=1000,dport=53)`,
    ]);
  });

  it("C-081, C-082: gone after it was translated: the translated tuple is the new one", () => {
    const o = new CtObserver();
    const up = o.send(udpTo(), SNAT);
    o.client.flush();
    expect(o.resume(up, COMMIT).state).toBe("new|trk");
    expect(o.lines[0]).toContain(`orig=(src=${PUBLIC},dst=${B}`);
  });

  it("C-080, C-084: the entry made meanwhile in the inverse direction: the packet is its reply from then on", () => {
    const o = new CtObserver();
    const first = o.send(udpTo(), {});
    expect(o.send(udpFrom(), COMMIT).state).toBe("new|trk");
    // The key stays: the result of the first ct is not rewritten (spec/conntrack C-092). Connection and direction are
    // the entry's.
    const again = o.resume(first, {});
    expect(again.state).toBe("new|trk");
    expect(o.counted).toEqual([1, 0]);
    expect(o.resume(first, { force: true, mark: 3 }).state).toBe("new|trk");
    // Forced: the inverse one is gone.
    expect(o.lines).toEqual([
      `udp,orig=(src=${A},dst=${B},sport=1000,dport=53),reply=(src=${B},dst=${A},sport=53,dport=1000),mark=3`,
    ]);
    expect(o.events).toEqual(["new", "destroy", "new"]);
  });

  it("C-079, C-155: in another zone the packet is tracked there, and may be translated again", () => {
    const o = new CtObserver();
    o.send(udpTo(), { ...SNAT, zone: 1 });
    const up = o.send(udpTo(), { nat: true, zone: 1 });
    const other = o.resume(up, { zone: 2, commit: true, src: "192.0.2.77" });
    expect([other.state, other.zone, addresses(other.packet)]).toEqual(["new|trk|snat", 2, `192.0.2.77>${B}`]);
    expect(o.lines).toHaveLength(2);
  });

  it("C-090: with force, a reply that waited starts the connection anew in its own direction", () => {
    const o = new CtObserver();
    o.send(udpTo(), COMMIT);
    const up = o.send(udpFrom(), {});
    expect(o.resume(up, { force: true }).state).toBe("new|trk");
    expect(o.events).toEqual(["new", "update", "destroy", "new"]);
    expect(o.lines[0]).toContain(`orig=(src=${B},dst=${A}`);
  });

  it("C-085: an invalid packet is tracked again", () => {
    const o = new CtObserver();
    const up = o.send(tcpFrom(0x11, 5, 5), {});
    expect(up.state).toBe("inv|trk");
    o.send(tcpTo(2, 100), COMMIT);
    expect(o.resume(up, {}).state).toBe("inv|trk");
    expect(o.counted).toEqual([1, 0]);
  });
});

describe("6. handle NF_REPEAT in conntrack action", () => {
  change(
    "C-388 to C-390: a SYN on a closed connection opens a new one at the first try",
    (o) => {
      o.send(tcpTo(2, 100), COMMIT);
      o.send(tcpFrom(0x12, 500, 101), {});
      o.send(tcpTo(0x10, 101, 501), {});
      o.send(tcpTo(0x11, 101, 501), {});
      o.send(tcpFrom(0x11, 501, 102), {});
      o.send(tcpTo(0x10, 102, 502), {});
      o.events.length = 0;
      expect(o.send(tcpTo(2, 9000), COMMIT).state).toBe("new|trk");
      expect(o.events).toEqual(["destroy", "new"]);
      expect(o.lines[0]).toContain("state=SYN_SENT");
    },
    () => {
      // Any verdict but ACCEPT was an error.
      let repeat = false;
      steps.trackTcp = (...of) => {
        const verdict = real.trackTcp(...of);
        repeat = verdict === Verdict.REPEAT;
        return repeat ? Verdict.INVALID : verdict;
      };
      steps.track = (ct, packet, action) => {
        repeat = false;
        return real.track(ct, packet, action) && !repeat;
      };
    },
  );
});

describe("7. delay conntrack helper call for new connections", () => {
  const early: Before = () => {
    // Every lookup called the helper, before NAT was known and before anything was committed.
    steps.lookup = (ct, packet, key, action) => {
      const error = real.lookup(ct, packet, key, { ...action, nat: undefined, commit: false } as CtAction);
      if (error !== 0) return error;
      const unconfirmed = packet.ct >= 0 && (ct.table.words[packet.ct * E.WORDS + E.STATUS] & IPS_CONFIRMED) === 0;
      if (unconfirmed && action.helper !== undefined) real.callHelper(ct, packet, packet.ct, action.family);
      return real.lookup(ct, packet, key, action);
    };
  };

  change(
    "C-391 to C-393: without commit nothing is expected, with commit once, at the packet that commits",
    (o) => {
      o.send(tftp, { helper: "tftp" });
      expect(o.events).toEqual([]);
      expect(o.expectations).toHaveLength(0);
      o.send(tftp, { helper: "tftp" }, { commit: true, helper: "tftp" }, {});
      expect(o.events).toEqual(["expect", "new"]);
      expect(o.expectations).toHaveLength(1);
    },
    early,
  );

  change(
    "C-393: with NAT what is expected is what the other side will see",
    (o) => {
      o.send(tftp, { commit: true, helper: "tftp", src: PUBLIC });
      expect(o.events).toEqual(["expect", "new"]);
      const [bytes] = o.expectations;
      expect(hex(bytes)).toContain(hex(Uint8Array.of(192, 0, 2, 1)));
      const data = frame(ethernet(), ipv4({ src: B, dst: PUBLIC }), udp({ src: 3333, dst: 1000 }), "\0\x03\0\x01x");
      const up = o.send(data, { commit: true, nat: true });
      expect([up.state, addresses(up.packet)]).toEqual(["new|rel|trk|snat|dnat", `${B}>${A}`]);
    },
    early,
  );

  it("C-210, C-211: the helper runs once a packet, also when it comes back from user space", () => {
    const o = new CtObserver();
    let calls = 0;
    steps.callHelper = (...of) => {
      calls++;
      return real.callHelper(...of);
    };
    const up: Seen = o.send(tftp, { helper: "tftp" });
    expect(calls).toBe(0);
    o.resume(up, { commit: true, helper: "tftp", src: PUBLIC });
    expect(calls).toBe(1);
    const second = o.send(tftp, NAT);
    expect(calls).toBe(2);
    o.resume(second, NAT);
    expect(calls).toBe(2);
  });
});

describe("8. interface with NAT", () => {
  change(
    "C-394 to C-396: ct(nat) is taken without commit, a range only with it",
    (o) => {
      expect(o.errno(udpTo(), NAT)).toBe(0);
      expect(o.errno(udpTo(), SNAT)).toBe(0);
      expect(o.errno(udpTo(), { src: PUBLIC })).toBe(EINVAL);
    },
    (conntrack) => {
      conntrack.bind = (action) => {
        if (action.nat !== undefined) throw new Errno(EINVAL);
      };
    },
  );

  const noNat: Before = () => {
    steps.translate = () => 0;
  };

  change(
    "C-397: source translation, and the way back",
    (o) => {
      const out = o.send(udpTo(), SNAT);
      expect([out.state, addresses(out.packet)]).toEqual(["new|trk|snat", `${PUBLIC}>${B}`]);
      expect(o.lines[0]).toContain(`reply=(src=${B},dst=${PUBLIC}`);
      const back = o.send(udpFrom(PUBLIC), NAT);
      expect([back.state, addresses(back.packet)]).toEqual(["est|rpl|trk|dnat", `${B}>${A}`]);
      verifyFrame(out.packet);
      verifyFrame(back.packet);
    },
    noNat,
  );

  change(
    "C-398: ct(nat) of a new connection leaves the packet alone",
    (o) => {
      const up = o.send(udpTo(), NAT);
      expect([up.state, hex(up.packet)]).toEqual(["new|trk", hex(udpTo())]);
      // And it is the commit that translates.
      expect(o.resume(up, SNAT).state).toBe("new|trk|snat");
    },
    noNat,
  );

  change(
    "C-399: an ICMP error about a translated flow is restored inside and out",
    (o) => {
      const out = o.send(udpTo(), { ...SNAT, port: 5000 });
      const error = frame(
        ethernet(),
        ipv4({ src: "10.9.9.9", dst: PUBLIC }),
        icmp({ type: 3, code: 3, rest: 0 }),
        out.packet.slice(14),
      );
      const up = o.send(error, NAT);
      expect([up.state, addresses(up.packet)]).toEqual(["rel|rpl|trk|dnat", `10.9.9.9>${A}`]);
      expect(hex(up.packet.slice(42))).toBe(hex(udpTo().slice(14)));
      verifyFrame(up.packet);
    },
    noNat,
  );
});
