import { IpProto } from "../../packet/ip.ts";
import { AF_INET } from "../../uapi/socket.ts";

import type { Helper } from "./helper.ts";

/**
 * NetBIOS name service (RFC 1002): a host that asks by broadcast expects answers from anyone in its network. The kernel
 * expects them only for packets that a socket of its own sends with a broadcast route; the packets of a datapath have
 * neither socket nor route, so there the helper can be asked for but never expects anything.
 */
export const netbiosNsHelper: Helper = {
  name: "netbios-ns",
  proto: IpProto.UDP,
  families: [AF_INET],
  policies: [{ maxExpected: 1, timeout: 3000 }],
  help: () => true,
};
