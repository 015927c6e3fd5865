/** ovs_meter: meters of datapaths, OVS_METER_ATTR_* (spec/families section 11). */
import { meterAttributes } from "../../schema/openvswitch.ts";
import * as ovs from "../../uapi/openvswitch.ts";
import type { GenlMessage } from "../genl.ts";
import { datapathOf, type OvsRequests } from "./requests.ts";

/** One band of a meter: `rate` in kbit/s or packets/s, `burst` in kbit or packets. */
export interface MeterBandSpec {
  /** OVS_METER_BAND_TYPE_*. Default OVS_METER_BAND_TYPE_DROP. */
  readonly type?: number;
  readonly rate: number;
  readonly burst: number;
}

/** One meter. */
export interface MeterInfo {
  /** Handle of its datapath. */
  readonly datapath: number;
  /** null in the answer to the deletion of an unknown meter. */
  readonly id: number | null;
  readonly packets: number;
  readonly bytes: number;
  /** CLOCK_MONOTONIC milliseconds of the last packet, null when there was none. */
  readonly used: number | null;
  /** Counters by band. */
  readonly bands: readonly { readonly packets: number; readonly bytes: number }[];
}

/** Settings of a meter. */
export interface MeterOptions {
  /** Rates are in kbit/s instead of packets/s. */
  readonly kbps?: boolean;
  readonly bands: readonly MeterBandSpec[];
  /** Sets the counters to 0. */
  readonly clear?: boolean;
}

/** What a datapath can do with meters. */
export interface MeterFeatures {
  maxMeters: number;
  maxBands: number;
  /** OVS_METER_BAND_TYPE_* */
  bandTypes: number[];
}

function decodeMeter(message: GenlMessage): MeterInfo {
  const { ID, STATS, USED, BANDS = [] } = message.decode(meterAttributes);
  return {
    datapath: datapathOf(message),
    id: ID ?? null,
    packets: STATS?.packets ?? 0,
    bytes: STATS?.bytes ?? 0,
    used: USED ?? null,
    bands: BANDS.flatMap((band) => band.STATS ?? []),
  };
}

/** OVS_METER_CMD_SET */
export function setMeter(requests: OvsRequests, datapath: number, id: number, options: MeterOptions): MeterInfo {
  const reply = requests.one(requests.meter, ovs.OVS_METER_CMD_SET, datapath, (w) =>
    meterAttributes.encode(w, {
      ID: id,
      KBPS: options.kbps,
      BANDS: options.bands.map(({ type, rate, burst }) => ({
        TYPE: type ?? ovs.OVS_METER_BAND_TYPE_DROP,
        RATE: rate,
        BURST: burst,
      })),
      CLEAR: options.clear,
    }),
  );
  return decodeMeter(reply);
}

/** OVS_METER_CMD_GET */
export function getMeter(requests: OvsRequests, datapath: number, id: number): MeterInfo {
  return decodeMeter(byId(requests, ovs.OVS_METER_CMD_GET, datapath, id));
}

/** OVS_METER_CMD_DEL */
export function deleteMeter(requests: OvsRequests, datapath: number, id: number): MeterInfo {
  return decodeMeter(byId(requests, ovs.OVS_METER_CMD_DEL, datapath, id));
}

/** OVS_METER_CMD_FEATURES */
export function getMeterFeatures(requests: OvsRequests, datapath: number): MeterFeatures {
  const reply = requests.one(requests.meter, ovs.OVS_METER_CMD_FEATURES, datapath);
  const { MAX_METERS = 0, MAX_BANDS = 0, BANDS = [] } = reply.decode(meterAttributes);
  return { maxMeters: MAX_METERS, maxBands: MAX_BANDS, bandTypes: BANDS.flatMap((band) => band.TYPE ?? []) };
}

function byId(requests: OvsRequests, command: number, datapath: number, id: number): GenlMessage {
  return requests.one(requests.meter, command, datapath, (w) => meterAttributes.encode(w, { ID: id }));
}
