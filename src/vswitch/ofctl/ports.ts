/** Port numbers and names of OpenFlow. */
import {
  OFPP_ALL,
  OFPP_CONTROLLER,
  OFPP_FLOOD,
  OFPP_IN_PORT,
  OFPP_LOCAL,
  OFPP_NONE,
  OFPP_NORMAL,
  OFPP_TABLE,
} from "../flow.ts";
import { entry } from "./symbols.ts";

/** Resolves port names to OpenFlow port numbers and back. */
export interface PortNames {
  numberOf(name: string): number | undefined;
  nameOf(port: number): string | undefined;
}

/** No names: ports are numbers. */
export const noPortNames: PortNames = { numberOf: () => undefined, nameOf: () => undefined };

const reservedPorts: Readonly<Record<string, number>> = {
  in_port: OFPP_IN_PORT,
  table: OFPP_TABLE,
  normal: OFPP_NORMAL,
  flood: OFPP_FLOOD,
  all: OFPP_ALL,
  controller: OFPP_CONTROLLER,
  local: OFPP_LOCAL,
  none: OFPP_NONE,
  any: OFPP_NONE,
};

/** The reserved port of a name such as IN_PORT or LOCAL. */
export function reservedPort(name: string): number | undefined {
  return entry(reservedPorts, name.toLowerCase());
}

/** Writes a port: a reserved name, the name in double quotes unless it is a plain word, or the number. */
export function formatPort(port: number, names: PortNames): string {
  switch (port) {
    case OFPP_IN_PORT:
      return "IN_PORT";
    case OFPP_TABLE:
      return "TABLE";
    case OFPP_NORMAL:
      return "NORMAL";
    case OFPP_FLOOD:
      return "FLOOD";
    case OFPP_ALL:
      return "ALL";
    case OFPP_CONTROLLER:
      return "CONTROLLER";
    case OFPP_LOCAL:
      return "LOCAL";
    case OFPP_NONE:
      return "NONE";
  }
  const name = names.nameOf(port);
  if (name === undefined) return String(port);
  return /^[a-zA-Z_][\w.-]*$/.test(name) ? name : `"${name}"`;
}
