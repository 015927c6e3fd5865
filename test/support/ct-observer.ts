/** The ct action seen from outside: packets and netlink messages in, upcalls, dumps and events out. */
import { type Connection, ConntrackClient, formatConnection } from "../../src/client/index.ts";
import type { Conntrack } from "../../src/conntrack/conntrack.ts";
import { Ctnetlink } from "../../src/kernel/ctnetlink/ctnetlink.ts";
import { PairSocket } from "../../src/netlink/pair.ts";
import { NETLINK_NETFILTER, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE } from "../../src/uapi/netlink.ts";
import * as nf from "../../src/uapi/nfnetlink.ts";
import * as ovs from "../../src/uapi/openvswitch.ts";
import * as act from "./actions.ts";
import { stateText } from "./conntrack.ts";
import { DatapathLab, inPort, type SeenUpcall } from "./datapath-lab.ts";
import { ip4, ip6 } from "./frames.ts";

/** A ct action in words; addresses as text. */
export interface CtWords {
  zone?: number;
  commit?: boolean;
  force?: boolean;
  mark?: number;
  helper?: string;
  /** Bare nat. */
  nat?: boolean;
  src?: string;
  dst?: string;
  port?: number;
}

const address = (text: string): Uint8Array => (text.includes(":") ? ip6(text) : ip4(text));

/** Bytes of OVS_ACTION_ATTR_CT. */
export function ctBytes(o: CtWords = {}): Uint8Array {
  const parts: Uint8Array[] = [];
  if (o.commit) parts.push(act.attr(ovs.OVS_CT_ATTR_COMMIT));
  if (o.force) parts.push(act.attr(ovs.OVS_CT_ATTR_FORCE_COMMIT));
  if (o.zone !== undefined) parts.push(act.attr(ovs.OVS_CT_ATTR_ZONE, act.le16(o.zone)));
  if (o.mark !== undefined) parts.push(act.attr(ovs.OVS_CT_ATTR_MARK, act.le32(o.mark), act.le32(-1)));
  if (o.helper !== undefined) parts.push(act.attr(ovs.OVS_CT_ATTR_HELPER, new TextEncoder().encode(`${o.helper}\0`)));
  const to = o.src ?? o.dst;
  if (o.nat || to !== undefined) {
    const nat: Uint8Array[] = [];
    if (to !== undefined) {
      nat.push(act.attr(o.src !== undefined ? ovs.OVS_NAT_ATTR_SRC : ovs.OVS_NAT_ATTR_DST));
      nat.push(act.attr(ovs.OVS_NAT_ATTR_IP_MIN, address(to)));
    }
    if (o.port !== undefined) nat.push(act.attr(ovs.OVS_NAT_ATTR_PROTO_MIN, act.le16(o.port)));
    parts.push(act.attr(ovs.OVS_CT_ATTR_NAT | 0x8000, ...nat));
  }
  return act.ct(...parts);
}

/** A packet as user space sees it: bytes and the key to send it back with. */
export interface Seen {
  readonly packet: Uint8Array;
  readonly key: Uint8Array;
  readonly state: string;
  readonly zone: number;
  readonly mark: number;
}

function seen(upcall: SeenUpcall): Seen {
  const { view, bytes } = upcall.reply;
  let key = new Uint8Array(0);
  for (let at = 24; at + 4 <= bytes.length; at += (view.getUint16(at, true) + 3) & ~3) {
    if ((view.getUint16(at + 2, true) & 0x3fff) === ovs.OVS_PACKET_ATTR_KEY)
      key = bytes.slice(at + 4, at + view.getUint16(at, true));
  }
  return {
    packet: upcall.packet,
    key,
    state: stateText((upcall.key.CT_STATE as number) ?? 0),
    zone: (upcall.key.CT_ZONE as number) ?? 0,
    mark: (upcall.key.CT_MARK as number) ?? 0,
  };
}

/** A datapath, ctnetlink, and somebody who listens to both. */
export class CtObserver {
  readonly lab = new DatapathLab();
  readonly client: ConntrackClient;
  /** "new", "update", "destroy" of connections; "expect" and "unexpect" of expectations: as they came. */
  readonly events: string[] = [];
  private readonly listener: PairSocket;

  /** @param before alters connection tracking to what it was before a change */
  constructor(before?: (conntrack: Conntrack) => void) {
    const { kernel, conntrack, clock } = this.lab.test;
    new Ctnetlink(kernel.bus, conntrack, () => clock.realtime());
    conntrack.options.acct = true;
    before?.(conntrack);
    const opener = { open: (protocol: number) => new PairSocket(kernel.bus, protocol) };
    this.client = new ConntrackClient(opener);
    this.listener = opener.open(NETLINK_NETFILTER);
    for (let group = 1; group <= 6; group++) this.listener.join(group);
  }

  /** EXECUTE of a packet fresh from port 1: the actions, then an upcall. */
  send(packet: Uint8Array, ...actions: CtWords[]): Seen {
    return this.execute(packet, inPort(1), actions);
  }

  /** EXECUTE of what an upcall brought. */
  resume(before: Seen, ...actions: CtWords[]): Seen {
    return this.execute(before.packet, before.key, actions);
  }

  /** errno of EXECUTE. */
  errno(packet: Uint8Array, ...actions: CtWords[]): number {
    return this.lab.execute(packet, actions.map(ctBytes));
  }

  private execute(packet: Uint8Array, key: Uint8Array, actions: CtWords[]): Seen {
    const list = [...actions.map(ctBytes), act.userspace(this.lab.pid)];
    const errno = this.lab.execute(packet, list, { key });
    if (errno !== 0) throw new Error(`EXECUTE: errno ${errno}`);
    const found = seen(this.lab.takeOne());
    this.drain();
    return found;
  }

  get connections(): Connection[] {
    return [...this.client.connections()];
  }

  /** Connections as `dpctl/dump-conntrack` prints them. */
  get lines(): string[] {
    return this.connections.map((connection) => formatConnection(connection)).sort();
  }

  /** Packets counted, original and reply direction, of the only connection. */
  get counted(): [number, number] {
    const [{ counters }, ...more] = this.connections;
    if (counters === null || more.length > 0) throw new Error("one connection with counters is wanted");
    return [counters.original.packets, counters.reply.packets];
  }

  /** Number of expectations in a dump, and the tuples' bytes. */
  get expectations(): Uint8Array[] {
    const socket = new PairSocket(this.lab.test.kernel.bus, NETLINK_NETFILTER);
    const request = new DataView(new ArrayBuffer(20));
    request.setUint32(0, 20, true);
    request.setUint16(4, (nf.NFNL_SUBSYS_CTNETLINK_EXP << 8) | nf.IPCTNL_MSG_EXP_GET, true);
    request.setUint16(6, NLM_F_REQUEST | NLM_F_DUMP, true);
    socket.send(new Uint8Array(request.buffer));
    const found: Uint8Array[] = [];
    for (let datagram = socket.receive(); datagram !== null; datagram = socket.receive()) {
      for (const message of split(datagram)) if (message.type !== NLMSG_DONE) found.push(message.body);
    }
    return found;
  }

  private drain(): void {
    const CT = nf.NFNL_SUBSYS_CTNETLINK << 8;
    const EXP = nf.NFNL_SUBSYS_CTNETLINK_EXP << 8;
    for (let datagram = this.listener.receive(); datagram !== null; datagram = this.listener.receive()) {
      for (const { type, flags } of split(datagram)) {
        if (type === (CT | nf.IPCTNL_MSG_CT_DELETE)) this.events.push("destroy");
        else if (type === (CT | nf.IPCTNL_MSG_CT_NEW)) this.events.push((flags & 0x400) !== 0 ? "new" : "update");
        else this.events.push(type === (EXP | nf.IPCTNL_MSG_EXP_NEW) ? "expect" : "unexpect");
      }
    }
  }
}

function* split(datagram: Uint8Array): Generator<{ type: number; flags: number; body: Uint8Array }> {
  const view = new DataView(datagram.buffer, datagram.byteOffset, datagram.length);
  for (let at = 0; at + 16 <= datagram.length; ) {
    const size = view.getUint32(at, true);
    yield {
      type: view.getUint16(at + 4, true),
      flags: view.getUint16(at + 6, true),
      body: datagram.slice(at + 20, at + size),
    };
    at += (size + 3) & ~3;
  }
}
