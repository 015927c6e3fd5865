import type { Namespace } from "../../../src/lab/namespace.ts";

/** What a switch does with packets between its two devices. */
export type Policy =
  | "plain"
  /** ct(commit,nat) to the right, ct(nat) back. */
  | "nat"
  /** ct(commit), no NAT. */
  | "commit"
  /** The same, with room for MANY connections. */
  | "many"
  /** Plain output, but every source address and port needs a datapath flow of its own. */
  | "miss"
  /** Plain output, and FLOWS other flows in the datapath. */
  | "full";

/** Datapath flows in a datapath that is full. */
export const FLOWS = 200_000;

/** Connections of a table that is large. */
export const MANY = 1_000_000;

/** The two devices that a peer connects, in the namespace it runs in. */
export interface Wiring {
  readonly namespace: Namespace;
  readonly left: string;
  readonly right: string;
}

/** A switch under test: started on two devices, and stopped without a trace. */
export interface Peer {
  readonly name: string;
  readonly policies: readonly Policy[];
  /** Cannot complete partial checksums: the hosts must send whole ones (ethtool -K tx off). */
  readonly needsChecksums?: boolean;
  start(wiring: Wiring, policy: Policy): Promise<Running>;
}

/** A started peer. */
export interface Running {
  /** Process ids whose processor time is the peer's. */
  readonly pids: readonly number[];
  /** Environment in which a program's generic netlink is this peer's; absent: it answers none. */
  readonly genetlink?: Readonly<Record<string, string>>;
  /** Another process reads all datapath flows. */
  dump?(): Promise<void>;
  stop(): Promise<void>;
}

/** OpenFlow rules of a policy: port 1 is left, port 2 is right. */
export function rules(policy: Policy): string[] {
  switch (policy) {
    case "plain":
      return ["in_port=1,actions=output:2", "in_port=2,actions=output:1"];
    case "nat":
      return [
        "priority=10,in_port=1,ip,actions=ct(commit,zone=1,nat(src=10.9.0.240-10.9.0.255)),output:2",
        "priority=10,in_port=2,ct_state=-trk,ip,actions=ct(table=0,zone=1,nat)",
        "priority=10,in_port=2,ct_state=+trk,ct_zone=1,ip,actions=output:1",
        "priority=1,in_port=1,actions=output:2",
        "priority=1,in_port=2,actions=output:1",
      ];
    case "miss":
      return [
        "priority=10,in_port=1,udp,actions=move:NXM_OF_IP_SRC[]->NXM_NX_REG1[],move:NXM_OF_UDP_SRC[]->NXM_NX_REG0[0..15],output:2",
        "priority=1,in_port=1,actions=output:2",
        "priority=1,in_port=2,actions=output:1",
      ];
    case "full":
      return [];
    case "commit":
    case "many":
      return [
        "priority=10,in_port=1,ip,actions=ct(commit,zone=1),output:2",
        "priority=10,in_port=2,ip,actions=ct(zone=1),output:1",
        "priority=1,in_port=1,actions=output:2",
        "priority=1,in_port=2,actions=output:1",
      ];
  }
}
