/** Two tenants with the same address reach one server through one public address, on real devices and stacks. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Host, Lab, root, Script } from "../support/lab.ts";

const TENANT = "10.0.0.1";
const PUBLIC = "192.0.2.1";
const SERVER = "192.0.2.2";
const TENANT_MAC = "02:00:00:00:00:aa";
const SERVER_MAC = "02:00:00:00:00:bb";

const rules = [
  `in_port=1,ip,actions=ct(commit,nat(src_zone=10,dst_zone=20,masq=${PUBLIC})),3`,
  `in_port=2,ip,actions=ct(commit,nat(src_zone=11,dst_zone=20,masq=${PUBLIC})),3`,
  "in_port=3,ct_state=-trk,ip,actions=ct(nat(reverse,zone=20),table=1)",
  "table=1,ct_state=+est,ct_zone=10,ip,actions=1",
  "table=1,ct_state=+est,ct_zone=11,ip,actions=2",
];

/** Answers each connection with the address that it comes from. */
const ECHO = `
import socket
s = socket.create_server(("${SERVER}", 8080))
print("ready", flush=True)
while True:
    c, who = s.accept()
    name = c.recv(99).decode()
    c.sendall(("%s from %s:%d" % ((name,) + who)).encode())
    c.close()
`;
/** Connects from a port that both tenants use. */
const CLIENT = `
import socket, sys
c = socket.create_connection(("${SERVER}", 8080), 5, ("${TENANT}", 5555))
c.sendall(sys.argv[1].encode())
print(c.recv(99).decode())
`;

describe.skipIf(!root)("cross-zone NAT on real packets", () => {
  let lab: Lab;
  let tenants: Host[];
  let server: Host;

  beforeAll(async () => {
    lab = await Lab.create(3, true);
    tenants = lab.hosts.slice(0, 2);
    server = lab.hosts[2];
    for (const { namespace } of tenants) {
      namespace.run("ip", "addr", "flush", "dev", "e0");
      namespace.run("ip", "link", "set", "e0", "address", TENANT_MAC);
      namespace.run("ip", "addr", "add", `${TENANT}/24`, "dev", "e0");
      namespace.run("ip", "route", "add", "192.0.2.0/24", "dev", "e0");
      namespace.run("ip", "neigh", "replace", SERVER, "lladdr", SERVER_MAC, "dev", "e0");
    }
    server.namespace.run("ip", "addr", "flush", "dev", "e0");
    server.namespace.run("ip", "link", "set", "e0", "address", SERVER_MAC);
    server.namespace.run("ip", "addr", "add", `${SERVER}/24`, "dev", "e0");
    server.namespace.run("ip", "neigh", "replace", PUBLIC, "lladdr", TENANT_MAC, "dev", "e0");
    const flows = rules.flatMap((rule) => ["--flow", rule]);
    const ports = lab.hosts.flatMap(({ device }) => ["--port", device]);
    await lab.start("--cross-zone-nat", "--bridge", "br0", ...ports, ...flows);
  });
  afterAll(() => lab?.close());

  it("ping, and TCP from the same port at the same time: each tenant gets its own answers", async () => {
    const pings = await Promise.all(tenants.map((tenant) => tenant.ping(SERVER)));
    expect(pings).toMatchObject([{ received: 3 }, { received: 3 }]);
    const echo = new Script(server.namespace.start("/usr/bin/python3", "-c", ECHO));
    await echo.line("ready");
    const answers = await Promise.all(
      tenants.map((tenant, i) => tenant.execute("/usr/bin/python3", "-c", CLIENT, `tenant ${i}`)),
    );
    await echo.stop();
    const [first, second] = answers.map(({ stdout, stderr }) => `${stdout}${stderr}`.trim());
    expect(first).toMatch(/^tenant 0 from 192\.0\.2\.1:\d+$/);
    expect(second).toMatch(/^tenant 1 from 192\.0\.2\.1:\d+$/);
    expect(first.split(":")[1]).not.toBe(second.split(":")[1]);

    const { stdout } = await lab.cli("conntrack", "--socket", lab.socket, "--zone", "20");
    const lines = stdout.split("\n").filter((line) => line.startsWith("tcp"));
    const zones = lines.map((line) => /zone=\d+,reply_zone=\d+/.exec(line)?.[0]).sort();
    expect(zones).toEqual(["zone=10,reply_zone=20", "zone=11,reply_zone=20"]);
    for (const line of lines) expect(line).toContain(`orig=(src=${TENANT},dst=${SERVER},sport=5555,dport=8080)`);
  });

  it("nobody reaches a tenant that has not asked", async () => {
    expect(await server.ping(PUBLIC, "-c", "1", "-W", "0.3")).toMatchObject({ received: 0 });
  });
});
