import type { Random } from "../core/random.ts";
import { putKey, putTunnel } from "../flow/codec.ts";
import { HASH_L4, HASH_SOFTWARE } from "../flow/hash.ts";
import { K } from "../flow/key.ts";
import { MessageWriter } from "../netlink/writer.ts";
import { segment } from "../packet/gso.ts";
import { completeChecksum } from "../packet/l4-checksum.ts";
import type { PacketMemory } from "../packet/memory.ts";
import { Csum, Gso, Packet } from "../packet/packet.ts";
import { copyWireFrame, wireLength } from "../packet/wire.ts";
import { EFBIG, EINVAL, ENODEV, ENOTCONN } from "../uapi/errno.ts";
import {
  OVS_DP_F_UNALIGNED,
  OVS_FRAG_TYPE_LATER,
  OVS_PACKET_ATTR_ACTIONS,
  OVS_PACKET_ATTR_EGRESS_TUN_KEY,
  OVS_PACKET_ATTR_HASH,
  OVS_PACKET_ATTR_KEY,
  OVS_PACKET_ATTR_LEN,
  OVS_PACKET_ATTR_MRU,
  OVS_PACKET_ATTR_PACKET,
  OVS_PACKET_ATTR_USERDATA,
  OVS_PACKET_CMD_ACTION,
  OVS_PACKET_CMD_MISS,
  OVS_PACKET_VERSION,
} from "../uapi/openvswitch.ts";
import type { UserspaceUpcall } from "./actions/program.ts";

/**
 * Where upcalls go: unicast to a netlink port id of the datapath's namespace.
 * The bytes are only lent: the sink copies what it keeps.
 * @returns 0, -ECONNREFUSED (no such port id) or -EAGAIN (its receive buffer is full)
 */
export type UpcallSink = (portId: number, message: Uint8Array) => number;

/** What upcalls need of their datapath's environment (environment.ts). */
interface UpcallEnvironment {
  /** Generic-netlink id of the ovs_packet family. */
  readonly packetFamily: () => number;
  readonly upcalls: UpcallSink;
  /** Gives the identification of IPv6 fragments. */
  readonly random: Random;
  readonly memory: PacketMemory;
}

const MAX_ATTR_PAYLOAD = 65531;

/**
 * Builds OVS_PACKET_CMD_MISS and OVS_PACKET_CMD_ACTION messages (spec/upcalls sections 1 and 5):
 * nlmsghdr, genlmsghdr, ovs_header, KEY, [USERDATA], [ACTIONS], [MRU], [LEN], HASH, PACKET.
 */
export class UpcallSender {
  private readonly writer = new MessageWriter(4096);
  private readonly segmentKey = new Int32Array(K.WORDS);
  private readonly segmentPacket: Packet;
  // The upcall being sent, for the callback that sees each GSO segment.
  private portId = 0;
  private ifindex = 0;
  private features = 0;
  private key: Int32Array = this.segmentKey;
  private userspace: UserspaceUpcall | undefined;
  private egress: Int32Array | undefined;
  private segments = 0;
  private ufo = false;

  /**
   * @param environment whose `upcalls` gets the messages, for the generic-netlink family packetFamily()
   */
  constructor(private readonly environment: UpcallEnvironment) {
    this.segmentPacket = new Packet(environment.memory);
  }

  /**
   * Sends one upcall; a GSO packet goes as one message per segment (spec/upcalls U-050).
   * @returns 0 or a negative errno: the upcall is lost (U-031 to U-043)
   */
  send(
    packet: Packet,
    key: Int32Array,
    portId: number,
    ifindex: number,
    features: number,
    userspace: UserspaceUpcall | undefined,
    egress?: Int32Array,
  ): number {
    if (portId === 0) return -ENOTCONN;
    if (ifindex === 0) return -ENODEV;
    this.portId = portId;
    this.ifindex = ifindex;
    this.features = features;
    this.key = key;
    this.userspace = userspace;
    this.egress = egress;
    if (packet.gsoType === Gso.NONE) return this.sendMessage(packet);
    this.segments = 0;
    this.ufo = (packet.gsoType & ~Gso.ECN) === Gso.UDP;
    return segment(packet, this.segmentPacket, this.eachSegment, this.environment.random);
  }

  private readonly eachSegment = (part: Packet): number => {
    // Later fragments of a UFO packet say so in their key (spec/upcalls U-051).
    if (this.segments++ === 1 && this.ufo) {
      this.segmentKey.set(this.key);
      this.segmentKey[K.IP] = (this.segmentKey[K.IP] & ~0xff) | OVS_FRAG_TYPE_LATER;
      this.key = this.segmentKey;
    }
    return this.sendMessage(part);
  };

  private sendMessage(packet: Packet): number {
    const { writer, userspace } = this;
    const full = wireLength(packet);
    // Only an action's upcall is ever cut (spec/upcalls U-054); the tag counts, as it has been put back by then.
    const size = userspace !== undefined && packet.maxLen !== 0 && full > packet.maxLen ? packet.maxLen : full;
    if (size > MAX_ATTR_PAYLOAD) return -EFBIG;

    writer.reset();
    const start = writer.beginMessage(this.environment.packetFamily(), 0, 0, 0);
    writer.genl(userspace === undefined ? OVS_PACKET_CMD_MISS : OVS_PACKET_CMD_ACTION, OVS_PACKET_VERSION);
    writer.rawU32(this.ifindex);
    const nest = writer.nest(OVS_PACKET_ATTR_KEY);
    putKey(writer, this.key);
    writer.endNest(nest);
    if (userspace !== undefined) {
      if (userspace.userdata !== undefined) writer.raw(OVS_PACKET_ATTR_USERDATA, userspace.userdata);
      if (this.egress !== undefined) {
        const tunnel = writer.nest(OVS_PACKET_ATTR_EGRESS_TUN_KEY);
        putTunnel(writer, this.egress, this.egress, false);
        writer.endNest(tunnel);
      }
      if (userspace.actions !== undefined) writer.raw(OVS_PACKET_ATTR_ACTIONS, userspace.actions());
    }
    if (packet.mru !== 0) writer.u16(OVS_PACKET_ATTR_MRU, packet.mru);
    if (size !== full) writer.u32(OVS_PACKET_ATTR_LEN, full);
    const hashAt = writer.attr(OVS_PACKET_ATTR_HASH, 8);
    writer.view.setUint32(hashAt, packet.hash >>> 0, true);
    writer.view.setUint32(hashAt + 4, packet.hashFlags & (HASH_SOFTWARE | HASH_L4), true);

    const at = writer.attr(OVS_PACKET_ATTR_PACKET, full);
    copyWireFrame(packet, writer.bytes, at);
    if (packet.csum === Csum.PARTIAL) {
      const start = at + packet.csumStart - packet.off + full - packet.len;
      if (!completeChecksum(writer.view, at, start, at + full, start + packet.csumOffset)) return -EINVAL;
    }
    if (size !== full) {
      writer.view.setUint16(at - 4, 4 + size, true);
      writer.length = at + ((size + 3) & ~3);
      writer.bytes.fill(0, at + size, writer.length);
    }
    if ((this.features & OVS_DP_F_UNALIGNED) !== 0) writer.length = at + size;
    writer.endMessage(start);
    return this.environment.upcalls(this.portId, writer.bytes.subarray(0, writer.length));
  }
}
