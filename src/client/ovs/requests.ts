import { Errno } from "../../core/errors.ts";
import type { MessageWriter } from "../../netlink/writer.ts";
import { EPROTO } from "../../uapi/errno.ts";
import * as ovs from "../../uapi/openvswitch.ts";
import { GenlClient, type GenlFamilyInfo, type GenlMessage } from "../genl.ts";
import type { SocketOpener } from "../requester.ts";

/** Requests to the families of openvswitch.ko: ovs_header first, then attributes. */
export class OvsRequests {
  readonly genl: GenlClient;
  readonly families: {
    readonly datapath: GenlFamilyInfo;
    readonly vport: GenlFamilyInfo;
    readonly flow: GenlFamilyInfo;
    readonly packet: GenlFamilyInfo;
  };

  /** @throws Errno ENOENT where a family does not exist: the module is absent */
  constructor(opener: SocketOpener) {
    this.genl = new GenlClient(opener);
    this.families = {
      datapath: this.genl.family(ovs.OVS_DATAPATH_FAMILY),
      vport: this.genl.family(ovs.OVS_VPORT_FAMILY),
      flow: this.genl.family(ovs.OVS_FLOW_FAMILY),
      packet: this.genl.family(ovs.OVS_PACKET_FAMILY),
    };
  }

  /** ovs_meter; asked for when first needed. */
  get meter(): GenlFamilyInfo {
    return this.genl.family(ovs.OVS_METER_FAMILY);
  }
  /** ovs_ct_limit; asked for when first needed. */
  get ctLimit(): GenlFamilyInfo {
    return this.genl.family(ovs.OVS_CT_LIMIT_FAMILY);
  }

  /**
   * Sends a request; returns its replies.
   * @param datapath ovs_header.dp_ifindex
   * @param build writes the attributes
   * @throws Errno as the request failed
   */
  all(
    family: GenlFamilyInfo,
    command: number,
    datapath: number,
    build?: (writer: MessageWriter) => void,
    flags = 0,
  ): GenlMessage[] {
    return this.genl.request(family, command, headed(datapath, build), flags);
  }

  /** Sends a request that has one reply. @throws Errno as the request failed, EPROTO where it has none */
  one(
    family: GenlFamilyInfo,
    command: number,
    datapath: number,
    build?: (writer: MessageWriter) => void,
    flags = 0,
  ): GenlMessage {
    const [reply] = this.all(family, command, datapath, build, flags);
    if (reply === undefined) throw new Errno(EPROTO, `${family.name} acknowledged command ${command} without a reply`);
    return reply;
  }

  /** Walks a dump. @throws Errno as the dump failed */
  dump(
    family: GenlFamilyInfo,
    command: number,
    datapath: number,
    build?: (writer: MessageWriter) => void,
  ): IterableIterator<GenlMessage> {
    return this.genl.dump(family, command, headed(datapath, build));
  }
}

function headed(datapath: number, build: ((writer: MessageWriter) => void) | undefined) {
  return (writer: MessageWriter): void => {
    writer.rawU32(datapath);
    build?.(writer);
  };
}

/** ovs_header.dp_ifindex of a message. */
export function datapathOf(message: GenlMessage): number {
  return message.view.getInt32(message.header, true);
}
