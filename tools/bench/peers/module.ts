import { existsSync } from "node:fs";
import { uptime } from "node:os";
import { Ovs } from "./ovs.ts";
import { MANY, type Peer, type Policy, type Running, type Wiring } from "./peer.ts";
import { installed, until } from "./process.ts";

/** Seconds after boot before which ovs-vswitchd 3.1 counts no processor and starts no handler. */
const COUNTS_PROCESSORS = 11;

/** ovs-vswitchd on the real openvswitch.ko. */
class OvsOnModule extends Ovs {
  readonly name = "openvswitch.ko";
  readonly policies = ["miss"] as const;
  protected readonly datapathType = "system";

  protected override async prepare(): Promise<{ environment: Record<string, string> }> {
    await until("the first seconds after boot", () => uptime() > COUNTS_PROCESSORS);
    return { environment: {} };
  }
}

/** The real openvswitch.ko, where the running kernel has it, with flows put by ovs-dpctl; misses go to ovs-vswitchd. */
export class KernelModule implements Peer {
  readonly name = "openvswitch.ko";
  readonly policies = ["plain", "nat", "commit", "many", "miss"] as const;

  async start(wiring: Wiring, policy: Policy): Promise<Running> {
    if (policy === "miss") return new OvsOnModule().start(wiring, policy);
    const { namespace, left, right } = wiring;
    if (policy === "many") namespace.run("sysctl", "-qw", `net.netfilter.nf_conntrack_max=${MANY}`);
    const dpctl = (...command: string[]): string => namespace.run("ovs-dpctl", ...command);
    dpctl("add-dp", "bench0");
    try {
      for (const device of [left, right]) dpctl("add-if", "bench0", device);
      for (const [match, actions] of KernelModule.flows(policy)) dpctl("add-flow", "bench0", match, actions);
    } catch (error) {
      dpctl("del-dp", "bench0");
      throw error;
    }
    return {
      pids: [],
      genetlink: {},
      stop: async () => {
        dpctl("del-dp", "bench0");
      },
    };
  }

  /** The datapath flows that ovs-vswitchd makes of rules(policy) for IPv4. */
  private static flows(policy: Policy): [string, string][] {
    const ip = "eth(),eth_type(0x0800),ipv4(frag=no)";
    switch (policy) {
      case "nat":
        return [
          [`in_port(1),${ip}`, "ct(commit,zone=1,nat(src=10.9.0.240-10.9.0.255)),2"],
          [`in_port(2),ct_state(-trk),${ip}`, "ct(zone=1,nat),recirc(1)"],
          [`recirc_id(1),in_port(2),ct_state(+trk),ct_zone(1),${ip}`, "1"],
        ];
      case "commit":
      case "many":
        return [
          [`in_port(1),${ip}`, "ct(commit,zone=1),2"],
          [`in_port(2),${ip}`, "ct(zone=1),1"],
        ];
      default:
        return [
          [`in_port(1),${ip}`, "2"],
          [`in_port(2),${ip}`, "1"],
        ];
    }
  }
}

/** Whether the running kernel has openvswitch.ko, and its tool is here. */
export function hasModule(): boolean {
  return existsSync("/sys/module/openvswitch") && installed("ovs-dpctl");
}
