import { Errno } from "../core/errors.ts";
import type { Datapaths } from "../datapath/datapaths.ts";
import type { Vport } from "../datapath/vport.ts";
import type { LinkHost } from "../netlink/host.ts";
import { encode } from "../netlink/schema/index.ts";
import { linkAttributes, linkInfoAttributes } from "../schema/rtnetlink.ts";
import type { TunnelDevices } from "../tunnel/devices.ts";
import { metadataKind } from "../tunnel/kinds/index.ts";
import { parseLinkInfo } from "../tunnel/link-info.ts";
import { EINVAL, EOPNOTSUPP } from "../uapi/errno.ts";
import { NLM_F_CREATE, NLMSG_HDRLEN } from "../uapi/netlink.ts";
import { IFLA_IFNAME, IFLA_LINKINFO, IFLA_NET_NS_FD, IFLA_NET_NS_PID, RTM_NEWLINK } from "../uapi/rtnetlink.ts";

/** sizeof(struct ifinfomsg), whose third field is the ifindex. */
const IFINFOMSG = 16;

/** Attributes of datapath devices as rtnetlink would report them had the kernel made the devices. */
export class Links implements LinkHost {
  constructor(
    private readonly datapaths: Datapaths,
    private readonly tunnels: TunnelDevices,
  ) {}

  create(message: Uint8Array): void {
    const view = new DataView(message.buffer, message.byteOffset, message.length);
    const start = NLMSG_HDRLEN + IFINFOMSG;
    if (message.length < start || view.getUint32(0, true) !== message.length) throw new Errno(EINVAL);
    if (view.getUint16(4, true) !== RTM_NEWLINK) throw new Errno(EOPNOTSUPP);
    if ((view.getUint16(6, true) & NLM_F_CREATE) === 0) throw new Errno(EOPNOTSUPP);
    const attributes = linkAttributes.table();
    linkAttributes.parse(attributes, view, start, message.length, 0, undefined);
    const has = (type: number): boolean => attributes.has(type);
    if (has(IFLA_NET_NS_PID) || has(IFLA_NET_NS_FD)) throw new Errno(EOPNOTSUPP);
    const name = has(IFLA_IFNAME) ? attributes.string(IFLA_IFNAME) : "";
    // An ifindex in the request, or a name that the kernel chooses: not for devices that OVS finds by their names.
    if (!has(IFLA_LINKINFO) || name === "" || view.getInt32(NLMSG_HDRLEN + 4, true) !== 0) throw new Errno(EOPNOTSUPP);
    const info = attributes.bytes(IFLA_LINKINFO);
    if (metadataKind(parseLinkInfo(info)) === undefined) throw new Errno(EOPNOTSUPP);
    this.tunnels.create(name, info);
  }

  describe(ifindexes: Uint32Array): Uint8Array {
    const wanted = new Set(ifindexes);
    const records: number[] = [];
    const put = (ifindex: number, master: number, info: Uint8Array): void => {
      for (const word of [ifindex, master, info.length])
        records.push(word & 0xff, (word >>> 8) & 0xff, (word >>> 16) & 0xff, word >>> 24);
      records.push(...info);
      while (records.length % 4 !== 0) records.push(0);
    };
    for (const datapath of this.datapaths.list) {
      for (const vport of datapath.vports) {
        if (vport === undefined || vport.port.netnsid !== undefined || !wanted.delete(vport.port.ifindex)) continue;
        put(vport.port.ifindex, vport.internal ? 0 : datapath.ifindex, this.linkInfo(vport));
      }
    }
    for (const { netdev, linkInfo } of this.tunnels) if (wanted.has(netdev.ifindex)) put(netdev.ifindex, 0, linkInfo);
    return Uint8Array.from(records);
  }

  private linkInfo(vport: Vport): Uint8Array {
    if (vport.internal) return INTERNAL;
    return this.tunnels.get(vport.name)?.linkInfo ?? NOTHING;
  }
}

const NOTHING = new Uint8Array(0);
/** The kind of an internal port's device, with the NUL that the kernel puts. */
const INTERNAL = encode(linkInfoAttributes, { KIND: "openvswitch" });
