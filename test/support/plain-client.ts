// A client that runs without privilege: `plain-client.ts SOCKET`. Tells the errnos it met.
import { Requester } from "../../src/client/requester.ts";
import { connect } from "../../src/client/seqpacket.ts";
import { Errno } from "../../src/core/errors.ts";
import { TransportOp } from "../../src/netlink/transport.ts";
import { NETLINK_GENERIC } from "../../src/uapi/netlink.ts";
import { Echo } from "./echo-protocol.ts";

function errnoOf(action: () => unknown): number {
  try {
    action();
  } catch (error) {
    if (error instanceof Errno) return error.errno;
    throw error;
  }
  return 0;
}

const client = connect(process.argv[2]);
const socket = client.open(NETLINK_GENERIC);
const requester = new Requester(socket);
const { idLow, idHigh } = socket as unknown as { idLow: number; idHigh: number };
process.send?.({
  privileged: errnoOf(() => requester.request(Echo.Privileged, 0, () => {})),
  echo: errnoOf(() => requester.request(Echo.Echo, 0, (writer) => writer.rawU32(1))),
  force: errnoOf(() => client.request(TransportOp.ReceiveBuffer, idLow, idHigh, 1 << 20, 1)),
});
process.disconnect();
