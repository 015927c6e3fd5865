/** ovs_packet: upcalls, and packets to execute actions on, OVS_PACKET_ATTR_* (spec/families section 10, spec/upcalls). */
import type { NetlinkSocket } from "../../netlink/socket.ts";
import type { MessageWriter } from "../../netlink/writer.ts";
import * as ovs from "../../uapi/openvswitch.ts";
import { drain, type GenlFamilyInfo, GenlMessage } from "../genl.ts";
import { datapathOf, type OvsRequests } from "./requests.ts";

/** A packet to execute actions on (OVS_PACKET_CMD_EXECUTE). */
export interface ExecuteSpec {
  /** From the Ethernet header on. */
  readonly packet: Uint8Array;
  /** OVS_KEY_ATTR_* of metadata: in_port, skb_mark, priority, recirc_id, ct_* …; headers are read from the packet. */
  readonly key: Uint8Array;
  /** OVS_ACTION_ATTR_* */
  readonly actions: Uint8Array;
  /** Failures are not logged. */
  readonly probe?: boolean;
  /** Largest fragment in bytes of a reassembled packet, which output fragments again. */
  readonly mru?: number;
  /** As Upcall.hash. */
  readonly hash?: number;
  /** Port id that upcalls of the actions go to. */
  readonly upcallPid?: number;
}

/** OVS_PACKET_CMD_MISS or OVS_PACKET_CMD_ACTION. All byte arrays view the datagram that brought it. */
export interface Upcall {
  /** OVS_PACKET_CMD_MISS (no flow matched) or OVS_PACKET_CMD_ACTION (a userspace action). */
  readonly command: number;
  /** Handle of the datapath. */
  readonly datapath: number;
  /** From the Ethernet header on, perhaps truncated. */
  readonly packet: Uint8Array;
  /** OVS_KEY_ATTR_* */
  readonly key: Uint8Array;
  /** Cookie of a userspace action. */
  readonly userdata: Uint8Array | null;
  /** OVS_TUNNEL_KEY_ATTR_*, where the userspace action asked for them. */
  readonly egressTunnelKey: Uint8Array | null;
  /** OVS_ACTION_ATTR_* of the flow, where the userspace action asked for them. */
  readonly actions: Uint8Array | null;
  /** Largest fragment in bytes of a reassembled packet. */
  readonly mru: number | null;
  /** Length before truncation. */
  readonly length: number | null;
  /** Low 32 bits: hash; bit 32: software hash; bit 33: L4 hash. */
  readonly hash: number | null;
}

const EMPTY: Uint8Array = new Uint8Array(0);

/** Reads OVS_PACKET_ATTR_* of MISS and ACTION. Written out, not by the table: every packet that misses comes here. */
function decodeUpcall(message: GenlMessage): Upcall {
  let packet: Uint8Array = EMPTY;
  let key: Uint8Array = EMPTY;
  let userdata: Uint8Array | null = null;
  let egressTunnelKey: Uint8Array | null = null;
  let actions: Uint8Array | null = null;
  let mru: number | null = null;
  let length: number | null = null;
  let hash: number | null = null;
  const attribute = message.attributes();
  while (attribute.next()) {
    switch (attribute.type) {
      case ovs.OVS_PACKET_ATTR_PACKET:
        packet = attribute.bytes();
        break;
      case ovs.OVS_PACKET_ATTR_KEY:
        key = attribute.bytes();
        break;
      case ovs.OVS_PACKET_ATTR_USERDATA:
        userdata = attribute.bytes();
        break;
      case ovs.OVS_PACKET_ATTR_EGRESS_TUN_KEY:
        egressTunnelKey = attribute.bytes();
        break;
      case ovs.OVS_PACKET_ATTR_ACTIONS:
        actions = attribute.bytes();
        break;
      case ovs.OVS_PACKET_ATTR_MRU:
        mru = attribute.u16();
        break;
      case ovs.OVS_PACKET_ATTR_LEN:
        length = attribute.u32();
        break;
      case ovs.OVS_PACKET_ATTR_HASH:
        hash = attribute.u64();
        break;
    }
  }
  const { command } = message;
  const datapath = datapathOf(message);
  return { command, datapath, packet, key, userdata, egressTunnelKey, actions, mru, length, hash };
}

/** OVS_PACKET_CMD_EXECUTE */
export function executePacket(requests: OvsRequests, datapath: number, spec: ExecuteSpec): void {
  requests.all(requests.families.packet, ovs.OVS_PACKET_CMD_EXECUTE, datapath, (w) => writeExecute(w, spec));
}

/** Writes the attributes of EXECUTE. Written out, not by the table: every packet that misses is executed. */
export function writeExecute(w: MessageWriter, spec: ExecuteSpec): void {
  w.raw(ovs.OVS_PACKET_ATTR_PACKET, spec.packet);
  w.raw(ovs.OVS_PACKET_ATTR_KEY, spec.key);
  w.raw(ovs.OVS_PACKET_ATTR_ACTIONS, spec.actions);
  if (spec.probe) w.flag(ovs.OVS_PACKET_ATTR_PROBE);
  if (spec.mru) w.u16(ovs.OVS_PACKET_ATTR_MRU, spec.mru);
  if (spec.hash !== undefined) w.u64(ovs.OVS_PACKET_ATTR_HASH, spec.hash);
  if (spec.upcallPid !== undefined) w.u32(ovs.OVS_PACKET_ATTR_UPCALL_PID, spec.upcallPid);
}

/** A netlink socket that the datapath sends upcalls to. */
export class UpcallSocket {
  /** ENOBUFS errors of the socket; each means one or more lost upcalls. */
  lost = 0;

  constructor(
    readonly socket: NetlinkSocket,
    private readonly packetFamily: GenlFamilyInfo,
  ) {}

  /** nl_pid: what upcallPid options take. */
  get portId(): number {
    return this.socket.portId;
  }

  /** Called when upcalls arrive; drain() then takes them. */
  set onReadable(callback: (() => void) | null) {
    this.socket.onReadable = callback;
  }

  /** Hands over all upcalls that wait. @returns their number */
  drain(onUpcall: (upcall: Upcall) => void): number {
    let count = 0;
    drain(
      this.socket,
      (message) => {
        if (message.type !== this.packetFamily.id) return;
        count++;
        onUpcall(decodeUpcall(new GenlMessage(message, this.packetFamily.headerSize)));
      },
      () => this.lost++,
    );
    return count;
  }

  close(): void {
    this.socket.onReadable = null;
    this.socket.close();
  }
}
