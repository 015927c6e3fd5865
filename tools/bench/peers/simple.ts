import type { Peer, Running, Wiring } from "./peer.ts";
import { end } from "./process.ts";

/** The Linux bridge. */
export class LinuxBridge implements Peer {
  readonly name = "bridge";
  readonly policies = ["plain"] as const;

  async start({ namespace, left, right }: Wiring): Promise<Running> {
    namespace.run("ip", "link", "add", "bench0", "type", "bridge");
    for (const device of [left, right]) namespace.run("ip", "link", "set", device, "master", "bench0");
    namespace.run("ip", "link", "set", "bench0", "up");
    return {
      pids: [],
      genetlink: {},
      stop: async () => {
        namespace.run("ip", "link", "del", "bench0");
      },
    };
  }
}

/** `forwarder.c`: the same rings and system calls as nokmod, without a look at any byte of a packet. */
export class CForwarder implements Peer {
  readonly name = "C forwarder";
  readonly policies = ["plain"] as const;

  constructor(private readonly binary: string) {}

  async start({ namespace, left, right }: Wiring): Promise<Running> {
    const child = namespace.start(this.binary, left, right);
    await new Promise((resolve) => setTimeout(resolve, 300));
    if (child.exitCode !== null) throw new Error(`the C forwarder ended with ${child.exitCode}`);
    return { pids: [child.pid as number], stop: () => end(child) };
  }
}
