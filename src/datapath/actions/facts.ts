import { K } from "../../flow/key.ts";
import { ETH_P_NSH, isMpls } from "../../packet/ethernet.ts";

/**
 * What validation of an action list knows of the flow's key (spec/actions A-032): all that it may read of it. The same
 * words are what the program cache tells keys apart by, so that nothing which decides about a program is left out.
 */
export const enum Fact {
  ETHER_TYPE = 0,
  /** 1 = the packet has an Ethernet header. */
  ETHERNET = 1,
  /** 1 = the packet has a VLAN tag. */
  TAGGED = 2,
  IP_PROTO = 3,
  /** OVS_FRAG_TYPE_* */
  FRAG = 4,
  /** Number of MPLS labels. */
  LABELS = 5,
  /** Next protocol of the NSH header, 0 in packets of other types. */
  NSH_NEXT = 6,
  COUNT = 7,
}

/** Fact.COUNT words, by Fact. */
export type KeyFacts = Int32Array;

const TAG_PRESENT = 0x1000;

/** Writes the facts of a key to `facts`. */
export function readFacts(key: Int32Array, facts: KeyFacts): KeyFacts {
  const etherType = key[K.ETH_TYPE] >>> 16;
  facts[Fact.ETHER_TYPE] = etherType;
  facts[Fact.ETHERNET] = (key[K.ETH_TYPE] & 0xff) === 1 ? 1 : 0;
  facts[Fact.TAGGED] = ((key[K.VLAN] >>> 16) & TAG_PRESENT) === 0 ? 0 : 1;
  facts[Fact.IP_PROTO] = key[K.IP] >>> 24;
  facts[Fact.FRAG] = key[K.IP] & 0xff;
  facts[Fact.LABELS] = isMpls(etherType) ? bitCount(key[K.MPLS_LABELS]) : 0;
  facts[Fact.NSH_NEXT] = etherType === ETH_P_NSH ? key[K.NSH_BASE] & 0xff : 0;
  return facts;
}

export const newFacts = (): KeyFacts => new Int32Array(Fact.COUNT);

function bitCount(value: number): number {
  let count = 0;
  for (let rest = value; rest !== 0; rest &= rest - 1) count++;
  return count;
}
