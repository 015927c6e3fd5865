import { spawnSync } from "node:child_process";
import { systemErrorCode } from "../core/errors.ts";
import type { SavedDevice } from "./saved-state.ts";

/**
 * Sets link-layer address, MTU, state and IP addresses of devices by ip(8).
 * @returns messages of ip(8), a line each, and why it could not be started
 */
export function configureDevices(devices: Readonly<Record<string, SavedDevice>>): string[] {
  const commands = Object.entries(devices).flatMap(([name, { address, mtu, up, addresses }]) => [
    `link set dev ${name} ${address === "" ? "" : `address ${address}`} mtu ${mtu} ${up ? "up" : "down"}`,
    ...addresses.map((prefix) => `addr add ${prefix} dev ${name}`),
  ]);
  if (commands.length === 0) return [];
  const { error, stderr } = spawnSync("ip", ["-force", "-batch", "-"], {
    input: `${commands.join("\n")}\n`,
    encoding: "utf8",
  });
  if (error !== undefined) return [`addresses of internal ports: ip: ${systemErrorCode(error) ?? error.message}`];
  // "Command failed -:LINE" follows each message.
  return stderr
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("Command failed"))
    .map((line) => `ip: ${line}`);
}

/**
 * Devices by name, from the output of `ip -json address show`.
 * @throws SyntaxError, TypeError: output of another form
 */
export function readDevices(text: string): Record<string, SavedDevice> {
  const links = JSON.parse(text) as readonly {
    readonly ifname: string;
    readonly address?: string;
    readonly mtu: number;
    readonly flags: readonly string[];
    readonly addr_info: readonly { readonly local?: string; readonly prefixlen?: number; readonly scope?: string }[];
  }[];
  return Object.fromEntries(
    links.map(({ ifname, address, mtu, flags, addr_info }) => [
      ifname,
      {
        address: address ?? "",
        mtu,
        up: flags.includes("UP"),
        addresses: addr_info
          .filter(({ local, scope }) => local !== undefined && scope !== "link")
          .map(({ local, prefixlen }) => `${local}/${prefixlen}`),
      },
    ]),
  );
}
