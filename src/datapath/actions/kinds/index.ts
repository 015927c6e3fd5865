import type { ActionKind } from "../draft.ts";
import { addMpls } from "./add-mpls.ts";
import { checkPktLen } from "./check-pkt-len.ts";
import { clone } from "./clone.ts";
import { ct } from "./ct.ts";
import { ctClear } from "./ct-clear.ts";
import { decTtl } from "./dec-ttl.ts";
import { drop } from "./drop.ts";
import { hash } from "./hash.ts";
import { meter } from "./meter.ts";
import { output } from "./output.ts";
import { popEth } from "./pop-eth.ts";
import { popMpls } from "./pop-mpls.ts";
import { popNsh } from "./pop-nsh.ts";
import { popVlan } from "./pop-vlan.ts";
import { psample } from "./psample.ts";
import { pushEth } from "./push-eth.ts";
import { pushMpls } from "./push-mpls.ts";
import { pushNsh } from "./push-nsh.ts";
import { pushVlan } from "./push-vlan.ts";
import { recirc } from "./recirc.ts";
import { sample } from "./sample.ts";
import { set } from "./set.ts";
import { setMasked } from "./set-masked.ts";
import { trunc } from "./trunc.ts";
import { userspace } from "./userspace.ts";

/** All kinds of actions by OVS_ACTION_ATTR_*; 0 is none. A new kind stands here, in the schema, and in interpret(). */
export const ACTION_KINDS: readonly ActionKind[] = [
  output,
  userspace,
  pushVlan,
  popVlan,
  recirc,
  hash,
  pushMpls,
  addMpls,
  popMpls,
  ct,
  trunc,
  pushEth,
  popEth,
  ctClear,
  pushNsh,
  popNsh,
  meter,
  drop,
  psample,
  sample,
  clone,
  checkPktLen,
  decTtl,
  set,
  setMasked,
].reduce<ActionKind[]>((byType, kind) => {
  byType[kind.type] = kind;
  return byType;
}, []);
