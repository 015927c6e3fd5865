/** The datapath flows that a bridge has put (ovs-vswitchd's udpif_key). */
import { MessageWriter } from "../netlink/writer.ts";
import * as ovs from "../uapi/openvswitch.ts";
import type { FlowEvent } from "./events.ts";
import { type Flow, FlowAt } from "./flow.ts";
import { writeMask } from "./odp/key.ts";
import type { RecircTable } from "./recirc.ts";
import { encodeUserdata } from "./userdata.ts";
import type { XlateResult } from "./xlate/context.ts";

/** What of a translation is needed after it: rules to count packets for, addresses to learn, recirc_ids in use. */
export type XlateCache = Pick<XlateResult, "rules" | "learned" | "recircIds">;

/** One datapath flow. */
export interface Ukey {
  /** The UFID as a key of a Map. */
  readonly id: string;
  readonly ufid: Uint8Array;
  /** OVS_KEY_ATTR_* of the packet that missed. */
  readonly key: Uint8Array;
  /** OpenFlow number. */
  readonly inPort: number;
  /** OVS_KEY_ATTR_* of the megaflow's mask. */
  readonly mask: Uint8Array;
  /** The same mask as the bytes of a Flow. */
  readonly wildcards: Uint8Array;
  /** OVS_ACTION_ATTR_* */
  actions: Uint8Array;
  xcache: XlateCache;
  /** Counters as of the last dump. */
  packets: number;
  bytes: number;
  tcpFlags: number;
  /** CLOCK_MONOTONIC milliseconds of the last packet. */
  used: number;
  /** revisionOf() at its last translation. */
  revision: number;
  /** Number of the dump in which it was last seen. */
  dump: number;
}

export class UkeyTable {
  /** Number of the latest dump of the datapath's flows. */
  dump = 0;
  private readonly ukeys = new Map<string, Ukey>();
  private readonly masks = new ByteInterner();
  private readonly wildcards = new ByteInterner();
  private readonly actions = new ByteInterner();
  private readonly writer = new MessageWriter();

  /** @param upcallPid netlink port id for userspace actions of flows from an OpenFlow port */
  constructor(
    private readonly recirc: RecircTable,
    private readonly upcallPid: (port: number) => number,
  ) {}

  get size(): number {
    return this.ukeys.size;
  }
  has(id: string): boolean {
    return this.ukeys.has(id);
  }
  get(id: string): Ukey | undefined {
    return this.ukeys.get(id);
  }
  values(): IterableIterator<Ukey> {
    return this.ukeys.values();
  }

  /** Adds the flow that a missed packet's translation makes. @param key is kept */
  add(id: string, ufid: Uint8Array, key: Uint8Array, flow: Flow, result: XlateResult, now: number, revision: number) {
    const mask = this.writer.reset();
    writeMask(mask, flow, result.wildcards);
    this.recirc.hold(result.recircIds);
    const ukey: Ukey = {
      id,
      ufid,
      key,
      inPort: flow.u32(FlowAt.IN_PORT),
      mask: this.masks.intern(mask.bytes.subarray(0, mask.length)),
      wildcards: this.wildcards.intern(result.wildcards.bytes),
      actions: this.datapathActions(flow, result),
      xcache: xlateCacheOf(result),
      packets: 0,
      bytes: 0,
      tcpFlags: 0,
      used: now,
      revision,
      // A dump that has begun before the put must not take it for deleted.
      dump: this.dump,
    };
    this.ukeys.set(id, ukey);
    return ukey;
  }

  /** Replaces what a new translation has changed but for the actions. */
  update(ukey: Ukey, result: XlateResult, revision: number): void {
    ukey.revision = revision;
    this.recirc.hold(result.recircIds);
    this.recirc.release(ukey.xcache.recircIds);
    ukey.xcache = xlateCacheOf(result);
  }

  /** Forgets a flow; false where it is forgotten already. */
  remove(ukey: Ukey): boolean {
    if (this.ukeys.get(ukey.id) !== ukey) return false;
    this.ukeys.delete(ukey.id);
    this.recirc.release(ukey.xcache.recircIds);
    return true;
  }

  /** Actions of the datapath flow: those of the translation, or for the slow path a userspace action for every packet. */
  datapathActions(flow: Flow, result: XlateResult): Uint8Array {
    if (!result.slow) return this.actions.intern(result.actions);
    const writer = new MessageWriter(64);
    const nest = writer.nest(ovs.OVS_ACTION_ATTR_USERSPACE);
    writer.u32(ovs.OVS_USERSPACE_ATTR_PID, this.upcallPid(flow.u32(FlowAt.IN_PORT)));
    writer.raw(ovs.OVS_USERSPACE_ATTR_USERDATA, encodeUserdata({ kind: "slow" }));
    writer.endNest(nest);
    return this.actions.intern(writer.finish());
  }
}

/** The event that a flow was put, changed or removed. */
export function flowEvent(ukey: Ukey, reason: FlowEvent["reason"]): FlowEvent {
  const { ufid, key, mask, actions, packets, bytes, tcpFlags } = ukey;
  return { ufid, key, mask, actions, packets, bytes, tcpFlags, reason };
}

const NONE: readonly never[] = [];

function xlateCacheOf({ rules, learned, recircIds }: XlateResult): XlateCache {
  return {
    rules,
    learned: learned.length === 0 ? NONE : learned,
    recircIds: recircIds.length === 0 ? NONE : recircIds,
  };
}

const INTERNED_MAX = 4096;

/** Keeps equal bytes once: most flows have one of few masks and lists of actions. */
class ByteInterner {
  private readonly known = new Map<string, Uint8Array>();
  private last: Uint8Array = new Uint8Array(0);

  /** A copy of `value`, the same object for the same bytes. */
  intern(value: Uint8Array): Uint8Array {
    // Consecutive flows often have equal bytes; comparing is faster than hashing.
    if (Buffer.compare(value, this.last) === 0) return this.last;
    const id = Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("latin1");
    let found = this.known.get(id);
    if (found === undefined) {
      // Callers compare by bytes: forgetting costs memory only.
      if (this.known.size >= INTERNED_MAX) this.known.clear();
      found = value.slice();
      this.known.set(id, found);
    }
    this.last = found;
    return found;
  }
}
