import type { Conntrack } from "../../conntrack/conntrack.ts";
import type { TimeoutPolicy } from "../../conntrack/timeout-policies.ts";
import { Errno } from "../../core/errors.ts";
import type { NetlinkBus } from "../../netlink/bus.ts";
import type { Dump } from "../../netlink/dump.ts";
import type { AttributeTable } from "../../netlink/schema/index.ts";
import type { MessageWriter } from "../../netlink/writer.ts";
import { timeoutDataAttributes } from "../../schema/ctnetlink.ts";
import { EBUSY, EEXIST, EINVAL, ENOENT, EOPNOTSUPP } from "../../uapi/errno.ts";
import { NLM_F_EXCL, NLM_F_MULTI, NLM_F_REPLACE } from "../../uapi/netlink.ts";
import * as nf from "../../uapi/nfnetlink.ts";
import { beginNf, type NfRequest } from "./message.ts";
import { nest } from "./tuple.ts";

/** Subsystem NFNL_SUBSYS_CTNETLINK_TIMEOUT: named timeout policies, and the namespace's defaults (spec/ctnetlink section 9). */
export class TimeoutRequests {
  constructor(
    private readonly conntrack: Conntrack,
    private readonly bus: NetlinkBus,
    /** Called when a policy was put or deleted. */
    private readonly configured: () => void,
  ) {}

  handle(request: NfRequest): Dump | undefined {
    switch (request.command) {
      case nf.IPCTNL_MSG_TIMEOUT_NEW:
        this.put(request);
        this.configured();
        return undefined;
      case nf.IPCTNL_MSG_TIMEOUT_GET:
        return this.get(request);
      case nf.IPCTNL_MSG_TIMEOUT_DELETE:
        this.remove(request);
        this.configured();
        return undefined;
      case nf.IPCTNL_MSG_TIMEOUT_DEFAULT_SET:
        this.setDefault(request);
        return undefined;
      default:
        this.getDefault(request);
        return undefined;
    }
  }

  private put(request: NfRequest): void {
    const { attributes, message } = request;
    const needed = [nf.CTA_TIMEOUT_NAME, nf.CTA_TIMEOUT_L3PROTO, nf.CTA_TIMEOUT_L4PROTO, nf.CTA_TIMEOUT_DATA];
    if (!needed.every((type) => attributes.has(type))) throw new Errno(EINVAL);
    const name = attributes.string(nf.CTA_TIMEOUT_NAME);
    const family = attributes.be16(nf.CTA_TIMEOUT_L3PROTO);
    const proto = attributes.u8(nf.CTA_TIMEOUT_L4PROTO);
    const known = this.conntrack.timeoutPolicies.find(name);
    if (known > 0) {
      if ((message.flags & NLM_F_EXCL) !== 0) throw new Errno(EEXIST);
      if ((message.flags & NLM_F_REPLACE) === 0) throw new Errno(EBUSY);
      const policy = this.conntrack.timeoutPolicies.get(known);
      if (policy?.family !== family || policy.proto !== proto) throw new Errno(EINVAL);
      policy.timeouts.set(this.parse(attributes, proto));
      return;
    }
    this.table(proto);
    this.conntrack.timeoutPolicies.set({ name, family, proto, timeouts: this.parse(attributes, proto) });
  }

  private get(request: NfRequest): Dump | undefined {
    const { attributes, message, socket } = request;
    if (request.isDump) {
      let last = 0;
      return {
        fill: (writer, room) => {
          for (const [number, policy] of this.conntrack.timeoutPolicies.entries()) {
            if (number <= last) continue;
            const at = this.write(writer, policy, message.seq, socket.portId);
            if (writer.length > room) {
              writer.cancel(at);
              return 1;
            }
            last = number;
          }
          return 0;
        },
      };
    }
    if (!attributes.has(nf.CTA_TIMEOUT_NAME)) throw new Errno(EINVAL);
    const number = this.conntrack.timeoutPolicies.find(attributes.string(nf.CTA_TIMEOUT_NAME));
    const policy = this.conntrack.timeoutPolicies.get(number);
    if (policy === undefined) throw new Errno(ENOENT);
    const writer = this.bus.writer.reset();
    this.write(writer, policy, message.seq, socket.portId);
    socket.send(writer.bytes.subarray(0, writer.length));
    return undefined;
  }

  private remove(request: NfRequest): void {
    const { attributes } = request;
    if (!attributes.has(nf.CTA_TIMEOUT_NAME)) {
      for (const [number] of [...this.conntrack.timeoutPolicies.entries()])
        this.conntrack.timeoutPolicies.delete(number);
      return;
    }
    const number = this.conntrack.timeoutPolicies.find(attributes.string(nf.CTA_TIMEOUT_NAME));
    if (number < 0) throw new Errno(ENOENT);
    this.conntrack.timeoutPolicies.delete(number);
  }

  private setDefault(request: NfRequest): void {
    const { attributes } = request;
    if (!attributes.has(nf.CTA_TIMEOUT_L4PROTO) || !attributes.has(nf.CTA_TIMEOUT_DATA)) throw new Errno(EINVAL);
    const proto = attributes.u8(nf.CTA_TIMEOUT_L4PROTO);
    this.table(proto).set(this.parse(attributes, proto));
  }

  private getDefault(request: NfRequest): void {
    const { attributes, message, socket } = request;
    if (!attributes.has(nf.CTA_TIMEOUT_L3PROTO) || !attributes.has(nf.CTA_TIMEOUT_L4PROTO)) throw new Errno(EINVAL);
    const proto = attributes.u8(nf.CTA_TIMEOUT_L4PROTO);
    const timeouts = this.table(proto);
    const writer = this.bus.writer.reset();
    const at = beginNf(
      writer,
      nf.NFNL_SUBSYS_CTNETLINK_TIMEOUT,
      nf.IPCTNL_MSG_TIMEOUT_DEFAULT_SET,
      NLM_F_MULTI,
      message.seq,
      socket.portId,
      0,
    );
    writer.be16(nf.CTA_TIMEOUT_L3PROTO, attributes.be16(nf.CTA_TIMEOUT_L3PROTO));
    writer.u8(nf.CTA_TIMEOUT_L4PROTO, proto);
    putTimeouts(writer, timeouts);
    writer.endMessage(at);
    socket.send(writer.bytes.subarray(0, writer.length));
  }

  /**
   * The namespace's defaults of a protocol. @throws Errno EOPNOTSUPP if it has no tracker (spec/ctnetlink N-135, N-142)
   */
  private table(proto: number): Int32Array {
    const { timeouts } = this.conntrack;
    const table = timeouts.of(proto);
    if (table === timeouts.generic && proto !== GENERIC) throw new Errno(EOPNOTSUPP);
    return table;
  }

  /** CTA_TIMEOUT_DATA over the defaults (spec/ctnetlink N-126 to N-130). */
  private parse(attributes: AttributeTable, proto: number): Int32Array {
    const timeouts = this.table(proto).slice();
    const data = attributes.nested(nf.CTA_TIMEOUT_DATA, timeoutDataAttributes(proto));
    for (let type = 1; type < timeouts.length; type++) {
      if (data.has(type)) timeouts[type] = Math.min(data.be32(type) * 1000, 0x7fff_ffff);
    }
    return timeouts;
  }

  private write(writer: MessageWriter, policy: TimeoutPolicy, seq: number, portId: number): number {
    const at = beginNf(
      writer,
      nf.NFNL_SUBSYS_CTNETLINK_TIMEOUT,
      nf.IPCTNL_MSG_TIMEOUT_NEW,
      NLM_F_MULTI,
      seq,
      portId,
      0,
    );
    writer.string(nf.CTA_TIMEOUT_NAME, policy.name);
    writer.be16(nf.CTA_TIMEOUT_L3PROTO, policy.family);
    writer.u8(nf.CTA_TIMEOUT_L4PROTO, policy.proto);
    // The kernel counts the flows that name it; entries do not count.
    writer.be32(nf.CTA_TIMEOUT_USE, 1);
    putTimeouts(writer, policy.timeouts);
    writer.endMessage(at);
    return at;
  }
}

/** IPPROTO_RAW stands for "any other protocol" in the kernel's table of trackers. */
const GENERIC = 255;

function putTimeouts(writer: MessageWriter, timeouts: Int32Array): void {
  const outer = nest(writer, nf.CTA_TIMEOUT_DATA);
  for (let type = 1; type < timeouts.length; type++) writer.be32(type, Math.floor(timeouts[type] / 1000));
  writer.endNest(outer);
}
