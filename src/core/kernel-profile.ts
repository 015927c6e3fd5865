import { kernelVersion } from "../uapi/version.ts";
import { NokmodError } from "./errors.ts";

/** Releases of Linux whose behaviour nokmod has: long-term ones, each with its stable updates. */
export const KERNEL_RELEASES = ["6.1", "6.6", "6.12", "6.18"] as const;

/** One of KERNEL_RELEASES. */
export type KernelRelease = (typeof KERNEL_RELEASES)[number];

/** The default release. */
export const NEWEST_KERNEL: KernelRelease = "6.18";

/**
 * The first version of Linux with each behaviour. Attributes and actions that are not in every kernel have their version in
 * src/schema (`since`); this table is about those that all kernels have.
 */
const SINCE = {
  /** OVS_HASH_ALG_SYM_L4 (spec/actions ). */
  symmetricHash: kernelVersion(6, 5),
  /** Packets that the datapath drops have a reason of its own (spec/actions ). */
  dropReasons: kernelVersion(6, 6),
  /** Expected connections are tracked as others are (spec/conntrack C-119, C-120). */
  expectationsTracked: kernelVersion(6, 6),
  /** CTA_ZONE narrows a dump or a flush (spec/ctnetlink N-072, N-084). */
  conntrackZoneFilter: kernelVersion(6, 8),
  /** A device is named by its primary name only, not by an altname (spec/families F-156). */
  primaryNamesOnly: kernelVersion(6, 10),
  /** CTA_FILTER narrows a flush; refused before (spec/ctnetlink N-085). */
  conntrackFlushFilter: kernelVersion(6, 11),
  /** CTA_FILTER on IPv6 addresses lists those that are equal, not those that differ (spec/ctnetlink N-074). */
  conntrackFilterIpv6: kernelVersion(6, 12),
  /** Pushing a second tag shifts the network header (spec/actions A-171). */
  vlanPushShiftsNetwork: kernelVersion(6, 12),
  /** The attributes inside OVS_ACTION_ATTR_USERSPACE are parsed strictly (spec/actions A-047). */
  strictUserspaceAction: kernelVersion(6, 16),
} as const;

/** Behaviour that depends on the release. */
export type KernelFeature = keyof typeof SINCE;

/** The behaviour of one release, made by kernelProfile(). */
export type KernelProfile = {
  readonly release: KernelRelease;
  /** kernelVersion() of the release, for AttributeSet.asOf(). */
  readonly version: number;
} & Readonly<Record<KernelFeature, boolean>>;

function profileOf(release: KernelRelease): KernelProfile {
  const [major, minor] = release.split(".").map(Number);
  const version = kernelVersion(major, minor);
  const features = Object.entries(SINCE).map(([feature, since]) => [feature, version >= since]);
  return Object.freeze({ release, version, ...Object.fromEntries(features) }) as KernelProfile;
}

const PROFILES = new Map<string, KernelProfile>(KERNEL_RELEASES.map((release) => [release, profileOf(release)]));

/**
 * The profile of a release.
 * @param release one of KERNEL_RELEASES; the newest by default
 * @throws NokmodError ERR_KERNEL_UNKNOWN
 */
export function kernelProfile(release: string = NEWEST_KERNEL): KernelProfile {
  const profile = PROFILES.get(release);
  if (profile === undefined) {
    const known = KERNEL_RELEASES.join(", ");
    throw new NokmodError("ERR_KERNEL_UNKNOWN", `kernel ${JSON.stringify(release)} is not known: choose from ${known}`);
  }
  return profile;
}
