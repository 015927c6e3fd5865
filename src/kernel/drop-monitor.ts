import { Errno } from "../core/errors.ts";
import { type DropReason, type DropSink, dropLocation, dropReasonName } from "../datapath/drop-reason.ts";
import type { Vport } from "../datapath/vport.ts";
import type { NetlinkBus } from "../netlink/bus.ts";
import { MessageWriter } from "../netlink/writer.ts";
import type { Packet } from "../packet/packet.ts";
import { dropMonitorAttributes } from "../schema/net-dropmon.ts";
import { EAGAIN, EBUSY, EINVAL } from "../uapi/errno.ts";
import { GENL_ADMIN_PERM } from "../uapi/genetlink.ts";
import * as uapi from "../uapi/net_dropmon.ts";
import { NETLINK_GENERIC } from "../uapi/netlink.ts";
import type { GenericNetlink } from "./genetlink.ts";
import type { GenlRequest } from "./genl-family.ts";
import { putNanoseconds } from "./nanoseconds.ts";

const VERSION = 2;
/** NET_DM_MAX_PACKET_SIZE: the payload of one attribute. */
const MAX_PAYLOAD = 0xffff - 4 - 3;
/** Points of one summary (dm_hit_limit). */
const MAX_POINTS = 64;
const QUEUE_LEN = 1000;
/** Addresses that stand in for those of the module's functions, which nokmod does not have. */
const TEXT_HIGH = 0xffff_ffff;
const TEXT_LOW = 0xc000_0000;

/**
 * The drop monitor, family NET_DM: reports packets that datapaths drop, and the reason (spec/actions ). In packet
 * mode each packet is sent to the group "events" with its reason; in summary mode a count for each place in the code is sent
 * once a second. dropwatch and tshark read both. Drops of devices are not reported.
 */
export class DropMonitor implements DropSink {
  active = false;
  private familyId = 0;
  private group = 0;
  private readonly writer = new MessageWriter(4096);
  private mode: number = uapi.NET_DM_ALERT_MODE_SUMMARY;
  private truncLen = 0;
  private queueLen = QUEUE_LEN;
  private hardware = false;
  /** Drops since the last summary, by place. */
  private readonly points = new Map<string, number>();
  private readonly places: string[] = [];

  /** @param now CLOCK_REALTIME in milliseconds */
  constructor(
    private readonly bus: NetlinkBus,
    private readonly now: () => number,
  ) {}

  register(genl: GenericNetlink): void {
    const trace = (request: GenlRequest): void => this.trace(request);
    const { id, firstGroup } = genl.add({
      name: "NET_DM",
      version: VERSION,
      headerSize: 0,
      maxAttr: uapi.NET_DM_ATTR_MAX,
      attributes: dropMonitorAttributes,
      operations: [
        { cmd: uapi.NET_DM_CMD_CONFIG, flags: GENL_ADMIN_PERM, doit: (request) => this.configure(request) },
        { cmd: uapi.NET_DM_CMD_START, flags: GENL_ADMIN_PERM, doit: trace },
        { cmd: uapi.NET_DM_CMD_STOP, flags: GENL_ADMIN_PERM, doit: trace },
        { cmd: uapi.NET_DM_CMD_CONFIG_GET, flags: 0, doit: (request) => this.configuration(request) },
        { cmd: uapi.NET_DM_CMD_STATS_GET, flags: 0, doit: (request) => this.statistics(request) },
      ],
      groups: ["events"],
      privilegedGroups: ["events"],
      firstStrictCommand: uapi.NET_DM_CMD_STATS_GET + 1,
    });
    this.familyId = id;
    this.group = firstGroup;
  }

  dropped(packet: Packet, reason: DropReason, input: Vport | undefined): void {
    if (this.mode === uapi.NET_DM_ALERT_MODE_PACKET) this.alert(packet, reason, input);
    else this.count(dropLocation(reason));
  }

  /** Sends the summary if there were drops; called once a second. */
  tick(): void {
    const { points, writer } = this;
    if (points.size === 0) return;
    const at = this.begin(uapi.NET_DM_CMD_ALERT);
    dropMonitorAttributes.encode(writer, {
      UNSPEC: [...points].map(([place, count]) => ({ pcLow: this.address(place), pcHigh: TEXT_HIGH, count })),
    });
    points.clear();
    this.send(at);
  }

  private count(place: string): void {
    const { points } = this;
    const before = points.get(place);
    if (before === undefined && points.size === MAX_POINTS) return;
    points.set(place, (before ?? 0) + 1);
  }

  /** Written without the table, which would take an object of values for each dropped packet. */
  private alert(packet: Packet, reason: DropReason, input: Vport | undefined): void {
    const { writer } = this;
    if (!this.bus.hasListeners(NETLINK_GENERIC, this.group)) return;
    const place = dropLocation(reason);
    let length = Math.min(packet.len, MAX_PAYLOAD);
    if (this.truncLen !== 0) length = Math.min(length, this.truncLen);
    const at = this.begin(uapi.NET_DM_CMD_PACKET_ALERT);
    writer.u16(uapi.NET_DM_ATTR_ORIGIN, uapi.NET_DM_ORIGIN_SW);
    const pc = writer.attr(uapi.NET_DM_ATTR_PC, 8);
    writer.view.setUint32(pc, this.address(place), true);
    writer.view.setUint32(pc + 4, TEXT_HIGH, true);
    writer.string(uapi.NET_DM_ATTR_REASON, dropReasonName(reason));
    writer.string(uapi.NET_DM_ATTR_SYMBOL, `${place} [openvswitch]`);
    const nest = writer.nest(uapi.NET_DM_ATTR_IN_PORT);
    // A packet of the host's own stack has come in by no device.
    if (input !== undefined && !input.internal) writer.u32(uapi.NET_DM_ATTR_PORT_NETDEV_IFINDEX, input.port.ifindex);
    writer.endNest(nest);
    putNanoseconds(writer, uapi.NET_DM_ATTR_TIMESTAMP, this.now());
    writer.u32(uapi.NET_DM_ATTR_ORIG_LEN, packet.len);
    if (length > 0) {
      writer.u16(uapi.NET_DM_ATTR_PROTO, packet.protocol);
      writer.raw(uapi.NET_DM_ATTR_PAYLOAD, packet.memory.bytes, packet.off, packet.off + length);
    }
    this.send(at);
  }

  /** @throws Errno EBUSY while monitoring, EINVAL */
  private configure(request: GenlRequest): void {
    const { attrs } = request;
    if (this.active || this.hardware)
      throw new Errno(EBUSY, "drop_monitor: Cannot configure drop monitor during monitoring");
    if (attrs.has(uapi.NET_DM_ATTR_ALERT_MODE)) {
      const mode = attrs.u8(uapi.NET_DM_ATTR_ALERT_MODE);
      if (mode > uapi.NET_DM_ALERT_MODE_PACKET) throw new Errno(EINVAL, "drop_monitor: Invalid alert mode");
      this.mode = mode;
    }
    if (attrs.has(uapi.NET_DM_ATTR_TRUNC_LEN)) this.truncLen = attrs.u32(uapi.NET_DM_ATTR_TRUNC_LEN);
    if (attrs.has(uapi.NET_DM_ATTR_QUEUE_LEN)) this.queueLen = attrs.u32(uapi.NET_DM_ATTR_QUEUE_LEN);
  }

  /** START and STOP; without a flag they mean software drops. @throws Errno EAGAIN when that is the state already */
  private trace(request: GenlRequest): void {
    const { attrs } = request;
    const on = request.cmd === uapi.NET_DM_CMD_START;
    const hardware = attrs.has(uapi.NET_DM_ATTR_HW_DROPS);
    const software = attrs.has(uapi.NET_DM_ATTR_SW_DROPS) || !hardware;
    if (on && software && this.active)
      throw new Errno(EAGAIN, "drop_monitor: Trace state already set to requested state");
    if (on && hardware && this.hardware) throw new Errno(EAGAIN, "drop_monitor: Hardware monitoring already enabled");
    if (hardware) this.hardware = on;
    if (software) this.active = on;
    if (!on && software) this.points.clear();
  }

  private configuration(request: GenlRequest): void {
    const writer = request.begin(uapi.NET_DM_CMD_CONFIG_NEW);
    dropMonitorAttributes.encode(writer, {
      ALERT_MODE: this.mode,
      TRUNC_LEN: this.truncLen,
      QUEUE_LEN: this.queueLen,
    });
    request.reply();
  }

  /** Alerts leave at once: none waits in a queue that could be full. */
  private statistics(request: GenlRequest): void {
    const writer = request.begin(uapi.NET_DM_CMD_STATS_NEW);
    dropMonitorAttributes.encode(writer, { STATS: { DROPPED: 0 }, HW_STATS: { DROPPED: 0 } });
    request.reply();
  }

  /** A number for a place that stays the same. */
  private address(place: string): number {
    let index = this.places.indexOf(place);
    if (index < 0) index = this.places.push(place) - 1;
    return TEXT_LOW + 0x100 * (index + 1);
  }

  private begin(cmd: number): number {
    const { writer } = this;
    writer.reset();
    const at = writer.beginMessage(this.familyId, 0, 0, 0);
    writer.genl(cmd, VERSION);
    return at;
  }

  private send(at: number): void {
    const { writer } = this;
    writer.endMessage(at);
    this.bus.multicast(NETLINK_GENERIC, this.group, writer.bytes.subarray(0, writer.length));
  }
}
