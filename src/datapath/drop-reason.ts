import type { Packet } from "../packet/packet.ts";
import type { Vport } from "./vport.ts";

/**
 * Why a packet was dropped. The datapath's own reasons have the numbers of the module's enum, SUBSYS_OPENVSWITCH (3) in
 * the upper half (spec/actions A-232). The numbers of the core's reasons differ between kernels: here they are nokmod's own.
 */
export const enum DropReason {
  NOT_SPECIFIED = 1,
  /** The output port is missing or down (spec/actions A-240). */
  DEV_READY = 2,
  /** The fragments that came in do not fit the output port (spec/actions A-241). */
  PKT_TOO_BIG = 3,
  NOMEM = 4,
  /** The list ended without having consumed the packet. */
  LAST_ACTION = 0x3_0001,
  ACTION_ERROR = 0x3_0002,
  EXPLICIT = 0x3_0003,
  EXPLICIT_WITH_ERROR = 0x3_0004,
  METER = 0x3_0005,
  RECURSION_LIMIT = 0x3_0006,
  DEFERRED_LIMIT = 0x3_0007,
  FRAG_L2_TOO_LONG = 0x3_0008,
  FRAG_INVALID_PROTO = 0x3_0009,
  CONNTRACK = 0x3_000a,
  IP_TTL = 0x3_000b,
}

/** What the kernel calls each reason, and the function of the module that drops for it. */
const NAMES: Readonly<Record<DropReason, readonly [name: string, where: string]>> = {
  [DropReason.NOT_SPECIFIED]: ["NOT_SPECIFIED", "ovs_vport_send"],
  [DropReason.DEV_READY]: ["DEV_READY", "do_output"],
  [DropReason.PKT_TOO_BIG]: ["PKT_TOO_BIG", "do_output"],
  [DropReason.NOMEM]: ["NOMEM", "ovs_vport_output"],
  [DropReason.LAST_ACTION]: ["OVS_DROP_LAST_ACTION", "do_execute_actions"],
  [DropReason.ACTION_ERROR]: ["OVS_DROP_ACTION_ERROR", "do_execute_actions"],
  [DropReason.EXPLICIT]: ["OVS_DROP_EXPLICIT", "do_execute_actions"],
  [DropReason.EXPLICIT_WITH_ERROR]: ["OVS_DROP_EXPLICIT_WITH_ERROR", "do_execute_actions"],
  [DropReason.METER]: ["OVS_DROP_METER", "do_execute_actions"],
  [DropReason.RECURSION_LIMIT]: ["OVS_DROP_RECURSION_LIMIT", "ovs_execute_actions"],
  [DropReason.DEFERRED_LIMIT]: ["OVS_DROP_DEFERRED_LIMIT", "clone_execute"],
  [DropReason.FRAG_L2_TOO_LONG]: ["OVS_DROP_FRAG_L2_TOO_LONG", "ovs_fragment"],
  [DropReason.FRAG_INVALID_PROTO]: ["OVS_DROP_FRAG_INVALID_PROTO", "ovs_fragment"],
  [DropReason.CONNTRACK]: ["OVS_DROP_CONNTRACK", "ovs_ct_execute"],
  [DropReason.IP_TTL]: ["OVS_DROP_IP_TTL", "dec_ttl_exception_handler"],
};

/** Receives dropped packets: the drop monitor (NET_DM). */
export interface DropSink {
  /** False while nothing is subscribed: dropped() is not called then. */
  readonly active: boolean;
  /** Called for each dropped packet. @param input the port it came in by */
  dropped(packet: Packet, reason: DropReason, input: Vport | undefined): void;
}

/** The kernel's name of a reason. */
export function dropReasonName(reason: DropReason): string {
  return NAMES[reason][0];
}

/** The function that drops for it in the module. */
export function dropLocation(reason: DropReason): string {
  return NAMES[reason][1];
}

/**
 * The reason as a kernel before 6.6 has it.
 * @returns 0 when such a kernel takes the packet for consumed, not dropped
 */
export function dropReasonBefore66(reason: DropReason): DropReason | 0 {
  const consumed = reason === DropReason.LAST_ACTION || reason === DropReason.METER || reason === DropReason.IP_TTL;
  return consumed ? 0 : DropReason.NOT_SPECIFIED;
}
