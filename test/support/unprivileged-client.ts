// A client without CAP_NET_ADMIN asks for everything: `unprivileged-client.ts SOCKET DATAPATH`. Tells the errno of each.
import { ConntrackClient, connect, OvsClient } from "../../src/client/index.ts";
import { Errno } from "../../src/core/errors.ts";

const opener = connect(process.argv[2]);
const client = new OvsClient(opener);
const dp = Number(process.argv[3]);
const nothing = new Uint8Array(0);

function errnoOf(action: () => unknown): number {
  try {
    action();
  } catch (error) {
    if (error instanceof Errno) return error.errno;
    throw error;
  }
  return 0;
}

process.send?.({
  refused: [
    errnoOf(() => client.createDatapath("mine")),
    errnoOf(() => client.setDatapath(dp, { userFeatures: 0 })),
    errnoOf(() => client.deleteDatapath(dp)),
    errnoOf(() => client.createVport(dp, { name: "x", type: 1 })),
    errnoOf(() => client.setVport(dp, 0, {})),
    errnoOf(() => client.deleteVport(dp, 1)),
    errnoOf(() => client.putFlow(dp, { key: nothing, actions: nothing })),
    errnoOf(() => client.setFlow(dp, { key: nothing }, {})),
    errnoOf(() => client.flushFlows(dp)),
    errnoOf(() => client.execute(dp, { packet: new Uint8Array(60), key: nothing, actions: nothing })),
    errnoOf(() => client.setMeter(dp, 1, { bands: [] })),
    errnoOf(() => client.deleteMeter(dp, 1)),
    errnoOf(() => client.setZoneLimits([{ zone: 1, limit: 1 }])),
    errnoOf(() => client.deleteZoneLimits([1])),
    errnoOf(() => new ConntrackClient(opener).flush()),
  ],
  allowed: [
    errnoOf(() => client.datapath(dp)),
    errnoOf(() => client.datapaths()),
    errnoOf(() => client.vport(dp, 0)),
    errnoOf(() => client.vports(dp)),
    errnoOf(() => [...client.flows(dp)]),
    errnoOf(() => client.meterFeatures(dp)),
    errnoOf(() => client.zoneLimits()),
  ],
});
process.disconnect();
