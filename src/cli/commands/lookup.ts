import type { DatapathInfo } from "../../client/index.ts";
import { NokmodError } from "../../core/errors.ts";
import { nearest } from "../output.ts";

/** The error ERR_NO_DATAPATH, with the most similar name of a datapath, or the names of all. */
export function unknownDatapath(name: string, known: readonly DatapathInfo[]): NokmodError {
  const names = known.map((datapath) => datapath.name);
  const near = nearest(name, names);
  const hint = near === undefined ? `known: ${names.join(", ") || "none"}` : `did you mean ${near}?`;
  return new NokmodError("ERR_NO_DATAPATH", `no datapath ${name}; ${hint}`);
}
