/**
 * The walk-through of the patch series "openvswitch: NAT support", spec/conntrack section 19, between real namespaces.
 */
import { spawn, spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Connection, ConnectionTuple } from "../../src/client/connection.ts";
import { type Host, Lab, root, type Script } from "../support/lab.ts";
import { forEveryUser, typescriptForEveryUser } from "../support/tree.ts";

const POOL = /10\.1\.1\.(24\d|25[0-5])\b/;

const rules = (clientMac: string): string[] => [
  "in_port=1,ip,action=ct(commit,zone=1,nat(src=10.1.1.240-10.1.1.255)),2",
  "in_port=2,ct_state=-trk,ip,action=ct(table=0,zone=1,nat)",
  "in_port=2,ct_state=+est,ct_zone=1,ip,action=1",
  // ARP, which the walk-through leaves out: the addresses of the pool are answered for.
  "in_port=1,arp,action=2",
  "in_port=2,arp,action=1",
  "priority=40000,in_port=2,arp,arp_op=1,arp_tpa=10.1.1.240/28,action=move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[]," +
    `mod_dl_src:${clientMac},load:2->NXM_OF_ARP_OP[],move:NXM_NX_ARP_SHA[]->NXM_NX_ARP_THA[],` +
    `set_field:${clientMac}->arp_sha,push:NXM_OF_ARP_TPA[],move:NXM_OF_ARP_SPA[]->NXM_OF_ARP_TPA[],` +
    "pop:NXM_OF_ARP_SPA[],in_port",
];

const HTTP_SERVER = `
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = ("from %s" % self.client_address[0]).encode() + b" " * (100000 if self.path == "/big" else 0)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("0.0.0.0", 8080), Handler)
print("ready")
server.serve_forever()
`;
const UDP_SERVER = `
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("0.0.0.0", 5353))
print("ready")
while True:
    data, who = s.recvfrom(2048)
    s.sendto(data + b" from " + who[0].encode(), who)
`;
const UDP_CLIENT = `
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect((sys.argv[1], 5353))
s.settimeout(5)
for i in range(5):
    s.send(b"hello %d" % i)
    print(s.recv(2048).decode())
`;

describe.skipIf(!root)("the NAT walk-through", () => {
  let lab: Lab;
  let client: Host;
  let server: Host;
  const servers: Script[] = [];

  beforeAll(async () => {
    lab = await Lab.create(2);
    [client, server] = lab.hosts;
    const flows = rules(client.mac).flatMap((rule) => ["--flow", rule]);
    await lab.start("--bridge", "br0", "--port", "p1", "--port", "p2", ...flows);
    servers.push(await server.python(HTTP_SERVER), await server.python(UDP_SERVER), await client.python(HTTP_SERVER));
  });
  afterAll(async () => {
    for (const one of servers) await one.stop();
    await lab?.close();
  });

  /** The connection of a protocol, with the source that it was translated to. */
  function connection(protocol: number): Connection {
    const conntrack = lab.conntrack();
    const found = [...conntrack.connections({ zone: 1 })].filter((one) => one.original.protocol === protocol);
    conntrack.close();
    expect(found.length).toBeGreaterThan(0);
    const [first] = found;
    expect(first.original).toMatchObject({
      src: client.address,
      dst: server.address,
    } satisfies Partial<ConnectionTuple>);
    expect(first.reply.src).toBe(server.address);
    expect(first.reply.dst).toMatch(POOL);
    expect(first.zone).toBe(1);
    return first;
  }

  it("C-397: ping from port 1 comes back, and arrives from an address of the pool", async () => {
    const capture = await server.capture();
    expect(await client.ping(server.address)).toMatchObject({ received: 3 });
    const echoes = await capture.wait((frame) => frame[12] === 8 && frame[13] === 0 && frame[23] === 1, 3);
    await capture.stop();
    for (const echo of echoes) expect(echo.subarray(26, 30).join(".")).toMatch(POOL);
    const { original, reply } = connection(1);
    expect(original.icmp?.type).toBe(8);
    expect(reply.icmp?.type).toBe(0);
  });

  it("C-397: HTTP over TCP, the server sees the pool, both tuples stand in the table", async () => {
    const url = `http://${server.address}:8080`;
    const small = await client.execute("curl", "-sS", "--max-time", "10", `${url}/`);
    expect(small.stdout, small.stderr).toMatch(POOL);
    const big = await client.execute("curl", "-sS", "--max-time", "10", `${url}/big`);
    expect(big.stdout.length, big.stderr).toBeGreaterThan(100_000);
    const { original, reply, state } = connection(6);
    expect(original.destinationPort).toBe(8080);
    expect(reply.sourcePort).toBe(8080);
    // TIME_WAIT, or before it.
    expect(state).toBeGreaterThanOrEqual(3);
  });

  it("C-397: a UDP exchange", async () => {
    const { stdout, stderr } = await client.execute("/usr/bin/python3", "-c", UDP_CLIENT, server.address);
    const lines = stdout.trim().split("\n");
    expect(lines.length, stderr).toBe(5);
    for (const [i, line] of lines.entries()) expect(line).toMatch(new RegExp(`^hello ${i} from ${POOL.source}`));
    expect(connection(17).reply.sourcePort).toBe(5353);
  });

  it("a connection from port 2 is refused", async () => {
    const seen = await client.capture("tcp[tcpflags] & tcp-syn != 0 and tcp[tcpflags] & tcp-ack == 0");
    const url = `http://${client.address}:8080/`;
    const { status, stdout } = await server.execute("curl", "-sS", "--max-time", "1", url);
    expect(status).not.toBe(0);
    expect(stdout).toBe("");
    // The same server can be reached in its own namespace.
    expect((await client.execute("curl", "-sS", "--max-time", "5", `http://127.0.0.1:8080/`)).stdout).toContain("from");
    expect(seen.frames).toEqual([]);
    await seen.stop();
  });

  it("F-120, T-035, T-036: what was put needs no further upcalls", async () => {
    const before = lab.ovs.datapath("br0").stats;
    expect(await client.ping(server.address, "-c", "20", "-i", "0.01")).toMatchObject({ received: 20 });
    const after = lab.ovs.datapath("br0").stats;
    // One of each direction and pass for the new id, if the flows have gone idle; not one a packet.
    expect(after.missed - before.missed).toBeLessThan(10);
    expect(after.hit - before.hit).toBeGreaterThanOrEqual(40);
    expect(after.lost).toBe(0);
  });
});

it("F-029: the same without root, inside a user namespace", async (context) => {
  const unprivileged = root ? ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] : ["env"];
  const probe = spawnSync(unprivileged[0], [...unprivileged.slice(1), "unshare", "-Urn", "true"], { encoding: "utf8" });
  if (probe.status !== 0) {
    const reason = `the kernel forbids user namespaces: ${(probe.stderr || String(probe.error)).trim()}`;
    process.stderr.write(`walk-through without root: ${reason}\n`);
    context.skip(reason);
  }
  const main = forEveryUser(fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url)));
  const command = [...unprivileged, process.execPath, ...typescriptForEveryUser(), main, "demo"];
  const child = spawn(command[0], command.slice(1), { env: { ...process.env, NO_COLOR: "1" } });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk) => {
      output += chunk;
    });
  }
  const status = await new Promise((resolve) => child.on("close", resolve));
  expect(status, output).toBe(0);
  expect(output).toMatch(/3 packets transmitted, 3 received/);
  expect(output.match(new RegExp(POOL, "g"))?.length).toBeGreaterThan(3);
}, 60_000);
