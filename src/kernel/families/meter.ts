import { Errno } from "../../core/errors.ts";
import type { Datapath } from "../../datapath/datapath.ts";
import type { Datapaths } from "../../datapath/datapaths.ts";
import { MAX_BANDS, Meter, MeterBand } from "../../datapath/meter.ts";
import type { AttributeTable } from "../../netlink/schema/index.ts";
import type { MessageWriter } from "../../netlink/writer.ts";
import { bandAttributes, meterAttributes } from "../../schema/openvswitch.ts";
import { EINVAL, ENODEV, ENOENT } from "../../uapi/errno.ts";
import { GENL_UNS_ADMIN_PERM } from "../../uapi/genetlink.ts";
import * as ovs from "../../uapi/openvswitch.ts";
import type { GenlFamily, GenlRequest } from "../genl-family.ts";
import { beginOvs, dpIfindex, OVS_HEADER_SIZE } from "../ovs-header.ts";

/** The ovs_meter family (spec/families section 11). `configured` is called after a meter is set or deleted. */
export function meterFamily(datapaths: Datapaths, configured: () => void): GenlFamily {
  return {
    name: ovs.OVS_METER_FAMILY,
    version: ovs.OVS_METER_VERSION,
    headerSize: OVS_HEADER_SIZE,
    maxAttr: ovs.OVS_METER_ATTR_MAX,
    attributes: meterAttributes,
    operations: [
      { cmd: ovs.OVS_METER_CMD_FEATURES, flags: 0, doit: features },
      { cmd: ovs.OVS_METER_CMD_SET, flags: GENL_UNS_ADMIN_PERM, doit: set },
      { cmd: ovs.OVS_METER_CMD_GET, flags: 0, doit: get },
      { cmd: ovs.OVS_METER_CMD_DEL, flags: GENL_UNS_ADMIN_PERM, doit: remove },
    ],
    groups: [ovs.OVS_METER_MCGROUP],
    firstStrictCommand: ovs.OVS_METER_CMD_GET + 1,
  };

  function features(request: GenlRequest): void {
    const { meters } = lookup(request);
    const writer = beginOvs(request, ovs.OVS_METER_CMD_FEATURES, dpIfindex(request));
    meterAttributes.encode(writer, {
      MAX_METERS: meters.maxMeters,
      MAX_BANDS,
      BANDS: [{ TYPE: ovs.OVS_METER_BAND_TYPE_DROP }],
    });
    request.reply();
  }

  function set(request: GenlRequest): void {
    const { attrs } = request;
    const id = idOf(attrs);
    if (!attrs.has(ovs.OVS_METER_ATTR_BANDS)) throw new Errno(EINVAL);
    const bands = parseBands(attrs);
    const { meters } = lookup(request);
    const keepStats = !attrs.has(ovs.OVS_METER_ATTR_CLEAR);
    const meter = new Meter(id, attrs.has(ovs.OVS_METER_ATTR_KBPS), keepStats, bands, meters.now());
    if (keepStats && attrs.has(ovs.OVS_METER_ATTR_STATS)) {
      const { packets, bytes } = attrs.read(meterAttributes.definitions.STATS);
      meter.packets = packets;
      meter.bytes = bytes;
    }
    const old = meters.set(meter);
    const writer = beginOvs(request, ovs.OVS_METER_CMD_SET, dpIfindex(request));
    writer.u32(ovs.OVS_METER_ATTR_ID, id);
    if (old?.keepStats) putStats(writer, old);
    request.reply();
    configured();
  }

  function get(request: GenlRequest): void {
    const id = idOf(request.attrs);
    const meter = lookup(request).meters.get(id);
    if (meter === undefined) throw new Errno(ENOENT);
    putStats(beginOvs(request, ovs.OVS_METER_CMD_GET, dpIfindex(request)), meter);
    request.reply();
  }

  function remove(request: GenlRequest): void {
    const id = idOf(request.attrs);
    const meter = lookup(request).meters.remove(id);
    const writer = beginOvs(request, ovs.OVS_METER_CMD_DEL, dpIfindex(request));
    if (meter !== undefined) putStats(writer, meter);
    request.reply();
    configured();
  }

  /** spec/families F-299, F-305 to F-309. @throws Errno EINVAL, ERANGE */
  function parseBands(attrs: AttributeTable): MeterBand[] {
    return attrs.entries(ovs.OVS_METER_ATTR_BANDS, bandAttributes, MAX_BANDS).map((band) => {
      if (!band.has(ovs.OVS_BAND_ATTR_TYPE) || !band.has(ovs.OVS_BAND_ATTR_RATE) || !band.has(ovs.OVS_BAND_ATTR_BURST))
        throw new Errno(EINVAL);
      const rate = band.u32(ovs.OVS_BAND_ATTR_RATE);
      if (rate === 0) throw new Errno(EINVAL);
      return new MeterBand(band.u32(ovs.OVS_BAND_ATTR_TYPE), rate, band.u32(ovs.OVS_BAND_ATTR_BURST));
    });
  }

  function lookup(request: GenlRequest): Datapath {
    const datapath = datapaths.byIfindex(dpIfindex(request));
    if (datapath === undefined) throw new Errno(ENODEV);
    return datapath;
  }
}

function idOf(attrs: AttributeTable): number {
  if (!attrs.has(ovs.OVS_METER_ATTR_ID)) throw new Errno(EINVAL);
  return attrs.u32(ovs.OVS_METER_ATTR_ID);
}

/** ID, STATS, USED, BANDS (spec/families F-317). */
function putStats(writer: MessageWriter, meter: Meter): void {
  meterAttributes.encode(writer, {
    ID: meter.id,
    STATS: { packets: meter.packets, bytes: meter.bytes },
    USED: meter.used,
    BANDS: meter.bands.map(({ packets, bytes }) => ({ STATS: { packets, bytes } })),
  });
}
