/**
 * One file for each kind of datapath action: its OVS_ACTION_ATTR_*, its validation, the instructions it compiles to. Running
 * them is interpret() in ../execute.ts.
 */
import type { ActionKind } from "../draft.ts";
import { addMplsKind } from "./add-mpls.ts";
import { checkPktLenKind } from "./check-pkt-len.ts";
import { cloneKind } from "./clone.ts";
import { ctKind } from "./ct.ts";
import { ctClearKind } from "./ct-clear.ts";
import { decTtlKind } from "./dec-ttl.ts";
import { dropKind } from "./drop.ts";
import { hashKind } from "./hash.ts";
import { meterKind } from "./meter.ts";
import { outputKind } from "./output.ts";
import { popEthKind } from "./pop-eth.ts";
import { popMplsKind } from "./pop-mpls.ts";
import { popNshKind } from "./pop-nsh.ts";
import { popVlanKind } from "./pop-vlan.ts";
import { psampleKind } from "./psample.ts";
import { pushEthKind } from "./push-eth.ts";
import { pushMplsKind } from "./push-mpls.ts";
import { pushNshKind } from "./push-nsh.ts";
import { pushVlanKind } from "./push-vlan.ts";
import { recircKind } from "./recirc.ts";
import { sampleKind } from "./sample.ts";
import { setKind } from "./set.ts";
import { setMaskedKind } from "./set-masked.ts";
import { truncKind } from "./trunc.ts";
import { userspaceKind } from "./userspace.ts";

/** All kinds of actions by OVS_ACTION_ATTR_*; 0 is none. */
export const ACTION_KINDS: readonly ActionKind[] = [
  outputKind,
  userspaceKind,
  pushVlanKind,
  popVlanKind,
  recircKind,
  hashKind,
  pushMplsKind,
  addMplsKind,
  popMplsKind,
  ctKind,
  truncKind,
  pushEthKind,
  popEthKind,
  ctClearKind,
  pushNshKind,
  popNshKind,
  meterKind,
  dropKind,
  psampleKind,
  sampleKind,
  cloneKind,
  checkPktLenKind,
  decTtlKind,
  setKind,
  setMaskedKind,
].reduce<ActionKind[]>((byType, kind) => {
  byType[kind.type] = kind;
  return byType;
}, []);
