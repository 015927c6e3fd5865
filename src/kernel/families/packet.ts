import { Errno } from "../../core/errors.ts";
import { ProgramCache } from "../../datapath/actions/cache.ts";
import type { ValidationContext } from "../../datapath/actions/draft.ts";
import type { Datapaths } from "../../datapath/datapaths.ts";
import type { DatapathEnvironment } from "../../datapath/environment.ts";
import { extractUserspace, parseMetadata } from "../../flow/codec.ts";
import { HASH_L4, HASH_RAW, HASH_SOFTWARE } from "../../flow/hash.ts";
import { newKey } from "../../flow/key.ts";
import { HEADROOM } from "../../packet/memory.ts";
import { Packet } from "../../packet/packet.ts";
import { packetAttributes } from "../../schema/openvswitch.ts";
import { EINPROGRESS, EINVAL, ENODEV, ENOMEM } from "../../uapi/errno.ts";
import { GENL_UNS_ADMIN_PERM } from "../../uapi/genetlink.ts";
import * as ovs from "../../uapi/openvswitch.ts";
import type { GenlFamily, GenlRequest } from "../genl-family.ts";
import { dpIfindex, OVS_HEADER_SIZE } from "../ovs-header.ts";

/** Bytes of room after the frame, for actions that make it longer. */
const TAILROOM = 64;

/**
 * The ovs_packet family: EXECUTE (spec/families section 10, spec/upcalls section 7).
 * @param flush ends a batch when scratch memory is used up
 */
export function packetFamily(
  datapaths: Datapaths,
  environment: DatapathEnvironment,
  context: ValidationContext,
  flush: () => void,
): GenlFamily {
  const { memory, kernel } = environment;
  const attributes = packetAttributes.asOf(kernel.version);
  const packet = new Packet(memory);
  const programs = new ProgramCache(context);
  const key = newKey();

  return {
    name: ovs.OVS_PACKET_FAMILY,
    version: ovs.OVS_PACKET_VERSION,
    headerSize: OVS_HEADER_SIZE,
    maxAttr: attributes.maxType,
    attributes,
    operations: [{ cmd: ovs.OVS_PACKET_CMD_EXECUTE, flags: GENL_UNS_ADMIN_PERM, doit: execute }],
    groups: [],
    firstStrictCommand: ovs.OVS_PACKET_CMD_EXECUTE + 1,
  };

  function execute(request: GenlRequest): void {
    const { attrs, view } = request;
    if (
      !attrs.has(ovs.OVS_PACKET_ATTR_PACKET) ||
      !attrs.has(ovs.OVS_PACKET_ATTR_KEY) ||
      !attrs.has(ovs.OVS_PACKET_ATTR_ACTIONS)
    )
      throw new Errno(EINVAL);
    const from = attrs.offset[ovs.OVS_PACKET_ATTR_PACKET];
    const length = attrs.length[ovs.OVS_PACKET_ATTR_PACKET];
    const room = HEADROOM + length + TAILROOM;
    let base = memory.scratch(room);
    if (base < 0) {
      flush();
      base = memory.scratch(room);
      if (base < 0) throw new Errno(ENOMEM);
    }
    memory.bytes.set(request.message.bytes.subarray(from, from + length), base + HEADROOM);
    packet.reset(base + HEADROOM, length, base, base + room);
    if (attrs.has(ovs.OVS_PACKET_ATTR_MRU)) {
      packet.mru = attrs.u16(ovs.OVS_PACKET_ATTR_MRU);
      packet.ignoreDf = true;
    }
    if (attrs.has(ovs.OVS_PACKET_ATTR_HASH)) {
      const at = attrs.offset[ovs.OVS_PACKET_ATTR_HASH];
      packet.hash = view.getInt32(at, true);
      packet.hashFlags = view.getUint32(at + 4, true) & (HASH_SOFTWARE | HASH_L4) || HASH_RAW;
    }
    if (attrs.has(ovs.OVS_PACKET_ATTR_UPCALL_PID)) packet.upcallPid = attrs.u32(ovs.OVS_PACKET_ATTR_UPCALL_PID);

    const keyAt = attrs.offset[ovs.OVS_PACKET_ATTR_KEY];
    const tuples = parseMetadata(view, keyAt, attrs.end(ovs.OVS_PACKET_ATTR_KEY), packet, key);
    const error = extractUserspace(packet, key, tuples);
    if (error !== 0) throw new Errno(-error);
    const program = programs.compile(
      view,
      attrs.offset[ovs.OVS_PACKET_ATTR_ACTIONS],
      attrs.end(ovs.OVS_PACKET_ATTR_ACTIONS),
      key,
    );
    const datapath = datapaths.byIfindex(dpIfindex(request));
    if (datapath === undefined) throw new Errno(ENODEV);
    if (datapath.vports[packet.inPort] === undefined) {
      // As if it had come in by the local port; the key keeps the number that was given (spec/families F-283).
      if (datapath.local === undefined) throw new Errno(ENODEV);
      packet.inPort = ovs.OVSP_LOCAL;
    }
    const result = datapath.executePacket(packet, key, program);
    // A fragment that waits for its datagram is no error (spec/families F-286).
    if (result !== 0 && result !== -EINPROGRESS) throw new Errno(-result);
  }
}
