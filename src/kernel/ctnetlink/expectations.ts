import type { Conntrack } from "../../conntrack/conntrack.ts";
import { AddResult, Expectation, expired, mayExpect } from "../../conntrack/expect.ts";
import { E, Ext, T } from "../../conntrack/layout.ts";
import { Errno } from "../../core/errors.ts";
import type { Dump } from "../../netlink/dump.ts";
import type { AttributeTable } from "../../netlink/schema/index.ts";
import { expectNatAttributes } from "../../schema/ctnetlink.ts";
import { EEXIST, EINVAL, ENOENT, EOPNOTSUPP } from "../../uapi/errno.ts";
import { NLM_F_CREATE, NLM_F_EXCL, NLM_F_MULTI } from "../../uapi/netlink.ts";
import * as nf from "../../uapi/nfnetlink.ts";
import { beginNf, type NfRequest, reply, singleDump } from "./message.ts";
import { expectationId, putExpectation } from "./record.ts";
import { putExpectStats } from "./statistics.ts";
import { parseExpectTuple } from "./tuple.ts";

/** Subsystem NFNL_SUBSYS_CTNETLINK_EXP: expectations (spec/ctnetlink section 8). */
export class Expectations {
  constructor(private readonly conntrack: Conntrack) {}

  handle(request: NfRequest): Dump | undefined {
    switch (request.command) {
      case nf.IPCTNL_MSG_EXP_GET:
        return this.getExpectation(request);
      case nf.IPCTNL_MSG_EXP_DELETE:
        this.deleteExpectations(request);
        return undefined;
      case nf.IPCTNL_MSG_EXP_GET_STATS_CPU:
        if (!request.isDump) return undefined;
        return singleDump((writer) => putExpectStats(writer, request, this.conntrack));
      default:
        this.newExpectation(request);
        return undefined;
    }
  }

  /** IPCTNL_MSG_EXP_NEW: creates an expectation, or refreshes the timeout of an existing one (spec/ctnetlink N-121). */
  private newExpectation(request: NfRequest): void {
    const { attributes, family, message } = request;
    const { conntrack } = this;
    const { expectations } = conntrack;
    const needed = [nf.CTA_EXPECT_TUPLE, nf.CTA_EXPECT_MASK, nf.CTA_EXPECT_MASTER];
    if (!needed.every((type) => attributes.has(type))) throw new Errno(EINVAL);
    const zone = expectZone(attributes);
    const tuple = parseExpectTuple(attributes, nf.CTA_EXPECT_TUPLE, family, zone);
    const known = expectations.find(tuple, conntrack.now);
    if (known !== undefined) {
      if ((message.flags & NLM_F_EXCL) !== 0) throw new Errno(EEXIST);
      if (attributes.has(nf.CTA_EXPECT_TIMEOUT)) {
        known.expires = (conntrack.now + milliseconds(attributes.be32(nf.CTA_EXPECT_TIMEOUT))) | 0;
      }
      return;
    }
    if ((message.flags & NLM_F_CREATE) === 0) throw new Errno(ENOENT);
    const mask = parseExpectTuple(attributes, nf.CTA_EXPECT_MASK, family, zone);
    const master = conntrack.findLive(parseExpectTuple(attributes, nf.CTA_EXPECT_MASTER, family, zone));
    if (master < 0) throw new Errno(ENOENT);
    const helper = conntrack.helperOfSlot(master >> 1);
    if (helper === undefined) throw new Errno(EOPNOTSUPP);
    const expectation = this.parseExpectation(attributes, master >> 1, helper.policies.length);
    expectation.tuple.set(tuple);
    expectation.mask.set(mask.subarray(T.SRC, T.SRC + 4), T.SRC);
    expectation.mask[T.PORTS] = mask[T.PORTS] & 0xffff_0000;
    const { portId } = request.socket;
    const result = expectations.add(expectation, conntrack.now, portId, request.echo);
    if (result !== AddResult.OK) throw new Errno(-result);
  }

  /** Class, flags, function and translation of a new expectation. @throws Errno EINVAL, ERANGE */
  private parseExpectation(attributes: AttributeTable, master: number, classes: number): Expectation {
    const { conntrack } = this;
    const { words } = conntrack.table;
    const entry = master * E.WORDS;
    const expectation = new Expectation(master, (words[entry + E.EXT] & Ext.HELPER_MASK) >>> Ext.HELPER_SHIFT);
    if (attributes.has(nf.CTA_EXPECT_CLASS)) {
      expectation.class = attributes.be32(nf.CTA_EXPECT_CLASS);
      if (expectation.class >= classes) throw new Errno(EINVAL);
    }
    if (attributes.has(nf.CTA_EXPECT_FLAGS)) {
      expectation.flags = attributes.be32(nf.CTA_EXPECT_FLAGS) & ~nf.NF_CT_EXPECT_USERSPACE;
    }
    if (attributes.has(nf.CTA_EXPECT_FN)) {
      const name = attributes.string(nf.CTA_EXPECT_FN);
      const set = conntrack.expectFunctions.get(name);
      if (set === undefined) throw new Errno(EINVAL);
      expectation.functionName = name;
      expectation.expectFunction = set;
    }
    if (!attributes.has(nf.CTA_EXPECT_NAT)) return expectation;
    const nat = attributes.nested(nf.CTA_EXPECT_NAT, expectNatAttributes);
    if (!nat.has(nf.CTA_EXPECT_NAT_DIR) || !nat.has(nf.CTA_EXPECT_NAT_TUPLE)) throw new Errno(EINVAL);
    const saved = parseExpectTuple(nat, nf.CTA_EXPECT_NAT_TUPLE, words[entry + T.META] & 0xff, 0);
    expectation.savedAddress.set(saved.subarray(T.SRC, T.SRC + 4));
    expectation.savedPort = saved[T.PORTS] >>> 16;
    expectation.direction = nat.be32(nf.CTA_EXPECT_NAT_DIR);
    return expectation;
  }

  private getExpectation(request: NfRequest): Dump | undefined {
    const { attributes, family } = request;
    if (request.isDump) {
      if (!attributes.has(nf.CTA_EXPECT_MASTER)) return this.dumpExpectations(request, -1);
      const tuple = parseExpectTuple(attributes, nf.CTA_EXPECT_MASTER, family, expectZone(attributes));
      const master = this.conntrack.findLive(tuple);
      if (master < 0) throw new Errno(ENOENT);
      // Without helper no dump begins: the only answer is the acknowledgment, where NLM_F_ACK is set.
      if (!mayExpect(this.conntrack.table.words, master >> 1)) return undefined;
      return this.dumpExpectations(request, master >> 1);
    }
    const expectation = this.findExpectation(request);
    reply(request, nf.NFNL_SUBSYS_CTNETLINK_EXP, nf.IPCTNL_MSG_EXP_NEW, expectation.tuple[T.META] & 0xff, (writer) =>
      putExpectation(writer, this.conntrack, expectation),
    );
    return undefined;
  }

  /** @throws Errno EINVAL, ENOENT */
  private findExpectation(request: NfRequest): Expectation {
    const { attributes, family } = request;
    const zone = expectZone(attributes);
    const type = attributes.has(nf.CTA_EXPECT_TUPLE) ? nf.CTA_EXPECT_TUPLE : nf.CTA_EXPECT_MASTER;
    if (!attributes.has(type)) throw new Errno(EINVAL);
    const { conntrack } = this;
    const expectation = conntrack.expectations.find(parseExpectTuple(attributes, type, family, zone), conntrack.now);
    if (expectation === undefined) throw new Errno(ENOENT);
    if (attributes.has(nf.CTA_EXPECT_ID) && attributes.be32(nf.CTA_EXPECT_ID) !== expectationId(expectation)) {
      throw new Errno(ENOENT);
    }
    return expectation;
  }

  private dumpExpectations(request: NfRequest, master: number): Dump {
    const { conntrack } = this;
    const { expectations } = conntrack;
    const { family } = request;
    const { seq } = request.message;
    const { portId } = request.socket;
    // One master's are listed newest first.
    const listed = master < 0 ? [...expectations.values()] : [...expectations.of(master)].reverse();
    let next = 0;
    return {
      fill: (writer, room) => {
        conntrack.refresh();
        for (; next < listed.length; next++) {
          const expectation = listed[next];
          const own = expectation.tuple[T.META] & 0xff;
          if (!expectation.live || (family !== 0 && family !== own)) continue;
          if (master < 0 && expired(expectation, conntrack.now)) continue;
          const at = beginNf(
            writer,
            nf.NFNL_SUBSYS_CTNETLINK_EXP,
            nf.IPCTNL_MSG_EXP_NEW,
            NLM_F_MULTI,
            seq,
            portId,
            own,
          );
          putExpectation(writer, conntrack, expectation);
          writer.endMessage(at);
          if (writer.length > room) {
            writer.cancel(at);
            return 1;
          }
        }
        return 0;
      },
    };
  }

  private deleteExpectations(request: NfRequest): void {
    const { attributes, socket, echo } = request;
    const { expectations } = this.conntrack;
    if (attributes.has(nf.CTA_EXPECT_TUPLE)) {
      expectations.remove(this.findExpectation(request), socket.portId, echo);
      return;
    }
    const name = attributes.has(nf.CTA_EXPECT_HELP_NAME) ? attributes.string(nf.CTA_EXPECT_HELP_NAME) : undefined;
    for (const expectation of [...expectations.values()]) {
      if (name === undefined || this.conntrack.helpers.get(expectation.helper)?.name === name) {
        expectations.remove(expectation, socket.portId, echo);
      }
    }
  }
}

const expectZone = (attributes: AttributeTable): number =>
  attributes.has(nf.CTA_EXPECT_ZONE) ? attributes.be16(nf.CTA_EXPECT_ZONE) : 0;

/** Seconds as table time, as far as that reaches. */
const milliseconds = (seconds: number): number => Math.min(seconds * 1000, 0x7fff_ffff);
