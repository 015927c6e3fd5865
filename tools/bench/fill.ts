import type { OvsClient } from "../../src/client/index.ts";
import { MessageWriter } from "../../src/netlink/writer.ts";
import * as ovs from "../../src/uapi/openvswitch.ts";

const IPPROTO_UDP = 17;
/** Flows put with one datagram. */
const BATCH = 64;

const writer = new MessageWriter();

/** Attributes as bytes of their own. */
function attributes(fill: () => void): Uint8Array {
  writer.reset();
  fill();
  return writer.finish();
}

/** Match on in_port, ethertype and an ovs_key_ipv4 of 12 bytes, whose protocol is its ninth. */
const match = (inPort: number, ethertype: number, ipv4: readonly number[]): Uint8Array =>
  attributes(() => {
    writer.u32(ovs.OVS_KEY_ATTR_IN_PORT, inPort);
    if (ethertype === 0x0800) writer.raw(ovs.OVS_KEY_ATTR_ETHERNET, new Uint8Array(12));
    writer.be16(ovs.OVS_KEY_ATTR_ETHERTYPE, ethertype);
    writer.raw(ovs.OVS_KEY_ATTR_IPV4, Uint8Array.from(ipv4));
    if (ipv4[8] === IPPROTO_UDP) writer.raw(ovs.OVS_KEY_ATTR_UDP, new Uint8Array(4));
  });

const output = (port: number): Uint8Array => attributes(() => writer.u32(ovs.OVS_ACTION_ATTR_OUTPUT, port));

/** Puts `count` flows that differ in the source address and carry no traffic of the benchmarks, from port 1 to port 2. */
export function fill(client: OvsClient, datapath: number, count: number): void {
  const mask = match(0xffffffff, 0xffff, [255, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 255]);
  const actions = output(2);
  const batch = client.batch();
  for (let i = 0; i < count; i++) {
    const key = match(1, 0x0800, [172, i >> 16, i >> 8, i, 172, 31, 0, 1, 99, 0, 0, 0]);
    const ufid = new Uint8Array(16);
    new DataView(ufid.buffer).setUint32(0, i + 1);
    batch.putFlow(datapath, { key, mask, actions, ufid });
    if (batch.length === BATCH || i === count - 1) {
      batch.send((_, error) => {
        throw error;
      });
    }
  }
}

/** Puts the flow that takes all UDP over IPv4 from one port to another. */
export function forwardUdp(client: OvsClient, datapath: number, from: number, to: number): void {
  const key = match(from, 0x0800, [0, 0, 0, 0, 0, 0, 0, 0, IPPROTO_UDP, 0, 0, 0]);
  const mask = match(0xffffffff, 0xffff, [0, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0, 255]);
  client.putFlow(datapath, { key, mask, actions: output(to) });
}
