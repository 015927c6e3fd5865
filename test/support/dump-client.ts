// A client that begins to dump the flows of a datapath and never ends. Arguments: socket path, datapath.
import { OvsClient } from "../../src/client/ovs/index.ts";
import { connect } from "../../src/client/seqpacket.ts";

const flows = new OvsClient(connect(process.argv[2])).flows(Number(process.argv[3]));
for (let i = 0; i < 100; i++) flows.next();
process.send?.("half-way");
setInterval(() => {}, 1000);
