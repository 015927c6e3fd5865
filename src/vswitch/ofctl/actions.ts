/** OpenFlow actions as the parser gives them. */
import type { OfpField } from "../fields.ts";
import type { Match } from "../flow.ts";
import type { Subfield } from "../subfield.ts";
import type { MaskedValue } from "./symbols.ts";

/** A `nat(…)` of ct. Addresses are 4 or 16 bytes. */
export interface NatSpec {
  readonly type: "src" | "dst" | "restore";
  readonly addressMin?: Uint8Array;
  readonly addressMax?: Uint8Array;
  readonly portMin?: number;
  readonly portMax?: number;
  readonly persistent?: boolean;
  readonly algorithm?: "random" | "hash";
  /** Zones of a new connection's two tuples; the first is that of the ct action. */
  readonly zones?: { readonly source: number; readonly destination: number };
  /** Replies are translated back into the zone of their connection's original direction. */
  readonly reverse?: boolean;
}

/** ct(…) */
export interface OfpCtAction {
  readonly type: "ct";
  readonly commit: boolean;
  readonly force: boolean;
  /** Table that the packet is looked up in after tracking, or null. */
  readonly table: number | null;
  readonly zone: number | Subfield;
  readonly nat: NatSpec | null;
  readonly helper: string | null;
  readonly exec: readonly Action[];
}

/** Sets some bits of a field. `word` is the name it was written with. */
export interface SetFieldAction {
  readonly type: "set_field";
  readonly word: "set_field" | LegacySet;
  readonly field: OfpField;
  readonly masked: MaskedValue;
  /** The same bits at their place in a flow. */
  readonly bits: Match;
}

/** OpenFlow 1.0 words for set_field. */
export type LegacySet =
  | "mod_dl_src"
  | "mod_dl_dst"
  | "mod_nw_src"
  | "mod_nw_dst"
  | "mod_nw_tos"
  | "mod_nw_ecn"
  | "mod_nw_ttl"
  | "set_mpls_label"
  | "set_mpls_tc"
  | "set_mpls_ttl"
  | "write_metadata";

/** One action. */
export type Action =
  | { readonly type: "output"; readonly port: number; readonly maxLen?: number }
  | { readonly type: "output_reg"; readonly source: Subfield }
  | {
      readonly type: "controller";
      readonly maxLen: number;
      readonly id: number;
      readonly reason: number;
      readonly userdata: Uint8Array | null;
    }
  | { readonly type: "resubmit"; readonly port: number | null; readonly table: number | null; readonly ct: boolean }
  | { readonly type: "goto_table"; readonly table: number }
  | SetFieldAction
  | { readonly type: "load"; readonly target: Subfield; readonly value: Uint8Array }
  | { readonly type: "move"; readonly source: Subfield; readonly target: Subfield }
  | { readonly type: "push"; readonly source: Subfield }
  | { readonly type: "pop"; readonly target: Subfield }
  | { readonly type: "mod_tp"; readonly destination: boolean; readonly port: number }
  | { readonly type: "mod_vlan_vid"; readonly vid: number }
  | { readonly type: "mod_vlan_pcp"; readonly pcp: number }
  | { readonly type: "push_vlan"; readonly tpid: number }
  | { readonly type: "strip_vlan" }
  | { readonly type: "push_mpls"; readonly ethertype: number }
  | { readonly type: "pop_mpls"; readonly ethertype: number }
  | { readonly type: "dec_ttl"; readonly controllers: readonly number[] }
  | { readonly type: "dec_mpls_ttl" }
  | OfpCtAction
  | { readonly type: "ct_clear" }
  | { readonly type: "note"; readonly bytes: Uint8Array }
  | { readonly type: "clone"; readonly actions: readonly Action[] }
  | { readonly type: "check_pkt_larger"; readonly length: number; readonly target: Subfield }
  | { readonly type: "meter"; readonly id: number }
  | { readonly type: "exit" }
  | { readonly type: "drop" };

/** Reasons of packet-ins (OFPR_*). */
export const OFPR_NO_MATCH = 0;
export const OFPR_ACTION = 1;
export const OFPR_INVALID_TTL = 2;
