import type { Clock } from "../../core/clock.ts";
import type { KernelProfile } from "../../core/kernel-profile.ts";
import { putTunnel } from "../../flow/codec.ts";
import { K, newKey, TunnelFlag } from "../../flow/key.ts";
import { MessageWriter } from "../../netlink/writer.ts";
import type { Packet } from "../../packet/packet.ts";
import { psampleMessage } from "../../schema/psample.ts";
import { NETLINK_GENERIC } from "../../uapi/netlink.ts";
import { OVS_TUNNEL_KEY_ATTR_TTL } from "../../uapi/openvswitch.ts";
import * as uapi from "../../uapi/psample.ts";
import { AF_INET } from "../../uapi/socket.ts";
import type { GenericNetlink } from "../genetlink.ts";
import type { GenlRequest, RegisteredFamily } from "../genl-family.ts";
import { putNanoseconds } from "../nanoseconds.ts";
import { RecordDump } from "../record-dump.ts";

/** Number of the group "packets" among the family's. */
const PACKETS = 1;
/** PSAMPLE_MAX_PACKET_SIZE: all attributes together. */
const MAX_ATTRIBUTES = 0xffff;
/** Attributes beside DATA, IIFINDEX and USER_COOKIE. */
const META = 56;
/** Rate of a psample action outside of SAMPLE (spec/actions A-246). */
const ALWAYS = 0xffff_ffff;

/**
 * The psample family: sampled packets, to whoever has joined its group "packets" (spec/actions ). There
 * are no groups to dump: those of the psample action live as long as one packet.
 */
export class Psample {
  private readonly family: RegisteredFamily;
  private readonly writer = new MessageWriter(4096);
  private readonly words = newKey();

  constructor(
    private readonly genl: GenericNetlink,
    private readonly clock: Clock,
    kernel: KernelProfile,
  ) {
    this.family = genl.add({
      name: uapi.PSAMPLE_GENL_NAME,
      version: uapi.PSAMPLE_GENL_VERSION,
      headerSize: 0,
      maxAttr: psampleMessage.asOf(kernel.version).maxType,
      operations: [{ cmd: uapi.PSAMPLE_CMD_GET_GROUP, flags: 0, dumpit: (request) => new NoGroups(request) }],
      groups: [uapi.PSAMPLE_NL_MCGRP_CONFIG_NAME, uapi.PSAMPLE_NL_MCGRP_SAMPLE_NAME],
      privilegedGroups: [uapi.PSAMPLE_NL_MCGRP_SAMPLE_NAME],
      firstStrictCommand: uapi.PSAMPLE_CMD_GET_GROUP + 1,
    });
  }

  /**
   * Sends one sample if the group has members (PsampleSink). Written without psampleMessage, which would take an object of
   * values for each packet.
   */
  send(packet: Packet, group: number, cookie: Uint8Array, inIfindex: number, tunnel: Int32Array | undefined): void {
    const { writer, family, genl } = this;
    const destination = family.firstGroup + PACKETS;
    if (!genl.bus.hasListeners(NETLINK_GENERIC, destination)) return;
    const limit = packet.maxLen !== 0 ? Math.min(packet.len, packet.maxLen) : packet.len;
    writer.reset();
    if (tunnel !== undefined) this.putTunnel(tunnel);
    const meta =
      META + writer.length + (inIfindex !== 0 ? 8 : 0) + (cookie.length !== 0 ? (cookie.length + 7) & ~3 : 0);
    const length = meta + ((limit + 7) & ~3) > MAX_ATTRIBUTES ? MAX_ATTRIBUTES - meta - 8 : limit;
    writer.reset();
    const at = writer.beginMessage(family.id, 0, 0, 0);
    writer.genl(uapi.PSAMPLE_CMD_SAMPLE, uapi.PSAMPLE_GENL_VERSION);
    if (inIfindex !== 0) writer.u16(uapi.PSAMPLE_ATTR_IIFINDEX, inIfindex & 0xffff);
    writer.u32(uapi.PSAMPLE_ATTR_SAMPLE_RATE, packet.probability !== 0 ? packet.probability : ALWAYS);
    writer.u32(uapi.PSAMPLE_ATTR_ORIGSIZE, packet.len);
    writer.u32(uapi.PSAMPLE_ATTR_SAMPLE_GROUP, group);
    writer.u32(uapi.PSAMPLE_ATTR_GROUP_SEQ, 0);
    putNanoseconds(writer, uapi.PSAMPLE_ATTR_TIMESTAMP, this.clock.realtime());
    writer.u16(uapi.PSAMPLE_ATTR_PROTO, packet.protocol);
    if (length > 0) writer.raw(uapi.PSAMPLE_ATTR_DATA, packet.memory.bytes, packet.off, packet.off + length);
    if (tunnel !== undefined) this.putTunnel(tunnel);
    if (cookie.length !== 0) writer.raw(uapi.PSAMPLE_ATTR_USER_COOKIE, cookie);
    writer.flag(uapi.PSAMPLE_ATTR_SAMPLE_PROBABILITY);
    writer.endMessage(at);
    genl.bus.multicast(NETLINK_GENERIC, destination, writer.bytes.subarray(0, writer.length));
  }

  /** PSAMPLE_ATTR_TUNNEL: the numbers inside are OVS_TUNNEL_KEY_ATTR_*'s; VXLAN options are left out. */
  private putTunnel(tunnel: Int32Array): void {
    const { writer, words } = this;
    words.set(tunnel);
    words[K.TUN_FLAGS] &= ~(TunnelFlag.VXLAN_OPT << 16);
    const bridge = words[K.TUN_PROTO] >>> 8 === AF_INET && words[K.TUN_DST] === 0;
    const nest = writer.nest(uapi.PSAMPLE_ATTR_TUNNEL);
    putTunnel(writer, words, words, bridge);
    if (bridge) writer.u8(OVS_TUNNEL_KEY_ATTR_TTL, words[K.TUN_FLAGS] & 0xff);
    writer.endNest(nest);
  }
}

/** A dump of nothing. */
class NoGroups extends RecordDump {
  constructor(request: GenlRequest) {
    super(request);
  }

  fill(): number {
    return 0;
  }
}
