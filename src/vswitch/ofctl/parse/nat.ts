/** Reads the `nat(…)` of ct. */

import type { NatSpec } from "../actions.ts";
import type { Span } from "../errors.ts";
import { needValue, type Pair, pairs, parseInteger } from "./lexer.ts";
import { ipv4Value, ipv6Value } from "./values.ts";

/** Reads `nat(…)`. @returns also the zone that it gives the ct action, if any @throws OfpError */
export function parseNat(pair: Pair): { nat: NatSpec; zone?: number } {
  if (pair.value === null || pair.value.text === "") return { nat: { type: "restore" } };
  let type: "src" | "dst" | "restore" = "restore";
  let range: ReturnType<typeof parseNatRange> = {};
  let persistent = false;
  let algorithm: "random" | "hash" | undefined;
  let reverse = false;
  const zones: { zone?: number; src_zone?: number; dst_zone?: number } = {};
  for (const inner of pairs(pair.value)) {
    switch (inner.name.text) {
      case "src":
      case "masq":
      case "dst":
        if (type !== "restore") throw inner.whole.syntax("either src or dst, once");
        type = inner.name.text === "dst" ? "dst" : "src";
        if (inner.value && inner.value.text !== "") range = parseNatRange(inner.value);
        break;
      case "persistent":
        persistent = true;
        break;
      case "hash":
      case "random":
        if (algorithm) throw inner.whole.syntax("either hash or random, once");
        algorithm = inner.name.text;
        break;
      case "reverse":
        reverse = true;
        break;
      case "zone":
      case "src_zone":
      case "dst_zone":
        zones[inner.name.text] = parseInteger(needValue(inner), 0xffff);
        break;
      default:
        throw inner.name.syntax("no such argument of nat");
    }
  }
  const { zone, src_zone: source, dst_zone: destination } = zones;
  if (reverse) {
    if (type !== "restore" || persistent || algorithm || source !== undefined || destination !== undefined)
      throw pair.whole.syntax("beside reverse only zone");
    return { nat: { type, reverse }, zone };
  }
  if (zone !== undefined) throw pair.whole.syntax("zone goes with reverse");
  if (type === "restore" && (persistent || algorithm || source !== undefined || destination !== undefined))
    throw pair.whole.syntax("these need src or dst");
  const nat = { type, ...range, persistent, algorithm };
  if (source === undefined && destination === undefined) return { nat };
  if (source === undefined || destination === undefined) throw pair.whole.syntax("src_zone and dst_zone go together");
  return { nat: { ...nat, zones: { source, destination } }, zone: source };
}

/** `address[-address][:port[-port]]`; IPv6 addresses in brackets where ports follow. */
function parseNatRange(span: Span): Pick<NatSpec, "addressMin" | "addressMax" | "portMin" | "portMax"> {
  const found =
    /^(\[[^\]]*\]|[0-9.]+|[0-9a-fA-F:.]*::[0-9a-fA-F:.]*|(?:[0-9a-fA-F]+:){7}[0-9a-fA-F]+)?(?:-(\[[^\]]*\]|[0-9.]+|[0-9a-fA-F:]+))?(?::(\d+)(?:-(\d+))?)?$/.exec(
      span.text,
    );
  if (!found) throw span.syntax("not a range of addresses and ports");
  const address = (text: string | undefined): Uint8Array | undefined => {
    if (text === undefined) return undefined;
    const bare = text.replace(/^\[|\]$/g, "");
    const at = span.text.indexOf(bare);
    // A bracket may hold a whole range: [a-b].
    const inner = span.slice(at, at + bare.length);
    return bare.includes(":") ? ipv6Value(inner) : ipv4Value(inner);
  };
  let [, first, second] = found;
  if (first?.startsWith("[") && first.includes("-")) {
    const [low, high] = first.slice(1, -1).split("-");
    first = low;
    second = high;
  }
  const addressMin = address(first);
  const addressMax = address(second) ?? addressMin;
  if (second !== undefined && !addressMin) throw span.syntax("a range needs a first address");
  if (addressMin && addressMax) {
    if (addressMin.length !== addressMax.length) throw span.syntax("addresses of two families");
    if (Buffer.compare(addressMin, addressMax) > 0) throw span.syntax("the last address stands before the first");
  }
  const portMin = found[3] === undefined ? undefined : Number(found[3]);
  const portMax = found[4] === undefined ? portMin : Number(found[4]);
  if (portMin !== undefined && portMax !== undefined) {
    if (portMin === 0 || portMax > 0xffff) throw span.syntax("ports are 1 to 65535");
    if (portMax < portMin) throw span.syntax("the last port stands before the first");
    if (!addressMin) throw span.syntax("ports need an address");
  }
  return { addressMin, addressMax, portMin, portMax };
}
