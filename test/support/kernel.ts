/** A whole kernel side in memory, and a client of it: for tests of the netlink families. */

import { Conntrack } from "../../src/conntrack/conntrack.ts";
import { ManualClock } from "../../src/core/clock.ts";
import { type KernelRelease, kernelProfile } from "../../src/core/kernel-profile.ts";
import { SeededRandom } from "../../src/core/random.ts";
import { OvsKernel } from "../../src/kernel/ovs-kernel.ts";
import { PairSocket } from "../../src/netlink/pair.ts";
import { MessageWriter } from "../../src/netlink/writer.ts";
import { type MemoryPort, MemoryPorts } from "../../src/port/memory/ports.ts";
import {
  NETLINK_GENERIC,
  NLM_F_ACK,
  NLM_F_DUMP,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
} from "../../src/uapi/netlink.ts";

/** One message of a datagram, copied out. */
export interface Reply {
  readonly type: number;
  readonly flags: number;
  readonly seq: number;
  readonly pid: number;
  /** genlmsghdr, if it is one. */
  readonly cmd: number;
  readonly version: number;
  /** ovs_header.dp_ifindex, if it has one. */
  readonly ifindex: number;
  /** The whole message; attributes start at `attributes`. */
  readonly view: DataView;
  readonly bytes: Uint8Array;
  /** NLMSG_ERROR and NLMSG_DONE: the positive errno. */
  readonly errno: number;
}

/** Splits a datagram. */
export function messagesIn(datagram: Uint8Array): Reply[] {
  const replies: Reply[] = [];
  const whole = new DataView(datagram.buffer, datagram.byteOffset, datagram.byteLength);
  let at = 0;
  while (datagram.length - at >= 16) {
    const length = whole.getUint32(at, true);
    if (length < 16 || length > datagram.length - at) throw new Error(`bad nlmsg_len ${length} at ${at}`);
    const bytes = datagram.slice(at, at + length);
    const view = new DataView(bytes.buffer);
    const type = view.getUint16(4, true);
    const control = type === NLMSG_ERROR || type === NLMSG_DONE;
    replies.push({
      type,
      flags: view.getUint16(6, true),
      seq: view.getUint32(8, true),
      pid: view.getUint32(12, true),
      cmd: control || length < 20 ? -1 : view.getUint8(16),
      version: control || length < 20 ? -1 : view.getUint8(17),
      ifindex: control || length < 24 ? -1 : view.getInt32(20, true),
      view,
      bytes,
      errno: control ? 0 - view.getInt32(16, true) : 0,
    });
    at += (length + 3) & ~3;
  }
  return replies;
}

/** A request message. */
export interface Request {
  readonly family: string;
  readonly cmd: number;
  readonly flags?: number;
  readonly version?: number;
  readonly ifindex?: number;
  readonly seq?: number;
  /** To a family without ovs_header. */
  readonly headless?: boolean;
  readonly attributes?: (writer: MessageWriter) => void;
}

/** A client with its socket. */
export class TestClient {
  readonly socket: PairSocket;
  private seq = 1000;

  constructor(
    readonly test: TestKernel,
    options: { privileged?: boolean; portId?: number } = {},
  ) {
    this.socket = new PairSocket(test.kernel.bus, NETLINK_GENERIC, options);
  }

  build(request: Request): Uint8Array {
    const writer = new MessageWriter();
    const family = request.family === "nlctrl" ? 16 : this.test.family(request.family);
    const flags = NLM_F_REQUEST | (request.flags ?? 0);
    const at = writer.beginMessage(family, flags, request.seq ?? ++this.seq, 0);
    writer.genl(request.cmd, request.version ?? 1);
    if (request.family !== "nlctrl" && request.headless !== true) writer.rawU32(request.ifindex ?? 0);
    request.attributes?.(writer);
    writer.endMessage(at);
    return writer.finish();
  }

  /** Sends a request and returns everything that is in the queue then. */
  request(request: Request): Reply[] {
    this.socket.send(this.build(request));
    return this.drain();
  }

  /** Sends a request with ACK; returns the replies before the ACK and its errno. */
  ack(request: Request): { errno: number; replies: Reply[]; ack: Reply } {
    const replies = this.request({ ...request, flags: (request.flags ?? 0) | NLM_F_ACK });
    const ack = replies.pop();
    if (ack?.type !== NLMSG_ERROR) throw new Error("no ACK");
    return { errno: ack.errno, replies, ack };
  }

  /** The errno of a request with ACK. */
  errno(request: Request): number {
    return this.ack(request).errno;
  }

  /** The single reply of a request without ACK. */
  get(request: Request): Reply {
    const [reply, ...more] = this.request(request);
    if (reply === undefined || more.length !== 0) throw new Error("expected one reply");
    if (reply.type === NLMSG_ERROR) throw new Error(`errno ${reply.errno}`);
    return reply;
  }

  /** A whole dump: its records and NLMSG_DONE. */
  dump(request: Request): { records: Reply[]; done: Reply } {
    const records = this.request({ ...request, flags: (request.flags ?? 0) | NLM_F_DUMP });
    const done = records.pop();
    if (done?.type !== NLMSG_DONE) throw new Error("no NLMSG_DONE");
    return { records, done };
  }

  drain(): Reply[] {
    const replies: Reply[] = [];
    for (let datagram = this.socket.receive(); datagram !== null; datagram = this.socket.receive())
      replies.push(...messagesIn(datagram));
    return replies;
  }
}

/** The kernel side with in-memory ports, a clock that stands still and a seeded generator. */
export class TestKernel {
  readonly clock = new ManualClock();
  readonly ports: MemoryPorts;
  readonly conntrack: Conntrack;
  readonly kernel: OvsKernel;
  /** Anything a handler threw that is not an Errno. */
  readonly faults: unknown[] = [];

  constructor(options: { kernel?: KernelRelease; processors?: number; tcSkbExt?: boolean; ports?: MemoryPorts } = {}) {
    const random = new SeededRandom(7);
    this.ports = options.ports ?? new MemoryPorts();
    const { clock, ports } = this;
    this.conntrack = new Conntrack({ clock, random, memory: ports.memory });
    this.kernel = new OvsKernel({
      kernel: kernelProfile(options.kernel),
      clock,
      random,
      memory: ports.memory,
      conntrack: this.conntrack,
      zoneLimits: this.conntrack.limits,
      ports,
      processors: options.processors ?? 4,
      tcSkbExt: options.tcSkbExt,
    });
    this.kernel.bus.onFault = (error) => this.faults.push(error);
    this.kernel.start(ports);
  }

  family(name: string): number {
    const family = this.kernel.genl.byName(name);
    if (family === undefined) throw new Error(`no family ${name}`);
    return family.id;
  }

  group(name: string): number {
    return this.kernel.genl.byName(name)?.firstGroup ?? 0;
  }

  client(options: { privileged?: boolean; portId?: number } = {}): TestClient {
    return new TestClient(this, options);
  }

  /** A device that a vport can be made of. */
  device(name: string): MemoryPort {
    return this.ports.device(name) ?? this.ports.addDevice(name);
  }
}
