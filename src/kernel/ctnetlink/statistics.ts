import type { Conntrack } from "../../conntrack/conntrack.ts";
import type { MessageWriter } from "../../netlink/writer.ts";
import * as nf from "../../uapi/nfnetlink.ts";
import { beginReply, type NfRequest } from "./message.ts";

/** IPCTNL_MSG_CT_GET_STATS_CPU: all counters under one processor (spec/ctnetlink section 10). */
export function putCpuStats(writer: MessageWriter, request: NfRequest, conntrack: Conntrack): void {
  const { stats } = conntrack;
  const at = beginReply(writer, request, nf.NFNL_SUBSYS_CTNETLINK, nf.IPCTNL_MSG_CT_GET_STATS_CPU, 0);
  writer.be32(nf.CTA_STATS_FOUND, stats.found);
  writer.be32(nf.CTA_STATS_INVALID, stats.invalid);
  writer.be32(nf.CTA_STATS_INSERT, stats.insert);
  writer.be32(nf.CTA_STATS_INSERT_FAILED, stats.insertFailed);
  writer.be32(nf.CTA_STATS_DROP, stats.drop);
  writer.be32(nf.CTA_STATS_EARLY_DROP, stats.earlyDrop);
  writer.be32(nf.CTA_STATS_ERROR, stats.error);
  writer.be32(nf.CTA_STATS_SEARCH_RESTART, stats.searchRestart);
  writer.be32(nf.CTA_STATS_CLASH_RESOLVE, stats.clashResolve);
  writer.be32(nf.CTA_STATS_CHAIN_TOOLONG, stats.chainTooLong);
  writer.endMessage(at);
}

/** IPCTNL_MSG_CT_GET_STATS: number of connections and the limit. */
export function putGlobalStats(writer: MessageWriter, conntrack: Conntrack): void {
  writer.be32(nf.CTA_STATS_GLOBAL_ENTRIES, conntrack.count);
  writer.be32(nf.CTA_STATS_GLOBAL_MAX_ENTRIES, conntrack.options.max);
}

/** IPCTNL_MSG_EXP_GET_STATS_CPU: all counters under one processor. */
export function putExpectStats(writer: MessageWriter, request: NfRequest, conntrack: Conntrack): void {
  const { expectations } = conntrack;
  // Subsystem 1 in the answer, though it is of 2: as the kernel.
  const at = beginReply(writer, request, nf.NFNL_SUBSYS_CTNETLINK, nf.IPCTNL_MSG_EXP_GET_STATS_CPU, 0);
  writer.be32(nf.CTA_STATS_EXP_NEW, expectations.matched);
  writer.be32(nf.CTA_STATS_EXP_CREATE, expectations.created);
  writer.be32(nf.CTA_STATS_EXP_DELETE, expectations.deleted);
  writer.endMessage(at);
}
