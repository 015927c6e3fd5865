import type { MessageWriter } from "../netlink/writer.ts";
import { NLM_F_MULTI } from "../uapi/netlink.ts";
import type { GenlRequest } from "./genl-family.ts";
import { RecordDump } from "./record-dump.ts";

/** struct ovs_header, the family header of all ovs_* families: `s32 dp_ifindex` (spec/families F-005). */
export const OVS_HEADER_SIZE = 4;

/** ovs_header.dp_ifindex of a request. */
export const dpIfindex = (request: GenlRequest): number => request.view.getInt32(request.header, true);

/** Begins a reply or notification with its ovs_header. */
export function beginOvs(request: GenlRequest, cmd: number, ifindex: number): MessageWriter {
  const writer = request.begin(cmd);
  writer.rawU32(ifindex);
  return writer;
}

/** A dump of an ovs_* family: records with ovs_header, cut where the room ends. */
export abstract class OvsDump extends RecordDump {
  constructor(
    request: GenlRequest,
    private readonly cmd: number,
  ) {
    super(request);
  }

  /** Starts a record. @returns its position, for end() */
  protected begin(writer: MessageWriter, ifindex: number): number {
    const at = writer.beginMessage(this.familyId, NLM_F_MULTI, this.seq, this.portId);
    writer.genl(this.cmd, this.version);
    writer.rawU32(ifindex);
    return at;
  }

  /** Ends a record; takes it back if it does not fit. @returns whether it did */
  protected end(writer: MessageWriter, at: number, room: number): boolean {
    writer.endMessage(at);
    if (writer.length <= room) return true;
    writer.cancel(at);
    return false;
  }
}
