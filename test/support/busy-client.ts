// A client that is in the middle of everything when it is killed: `busy-client.ts SOCKET`. Tells its port id.
import { Requester } from "../../src/client/requester.ts";
import { connect } from "../../src/client/seqpacket.ts";
import { NETLINK_GENERIC } from "../../src/uapi/netlink.ts";
import { Echo } from "./echo-protocol.ts";

const client = connect(process.argv[2]);
const socket = client.open(NETLINK_GENERIC);
socket.join(5);
const records = new Requester(socket).dump(Echo.Dump, 0, (writer) => {
  writer.rawU32(0xffff_ffff);
  writer.rawU32(64);
});
records.next();
process.send?.(socket.portId);
for (const _ of records);
