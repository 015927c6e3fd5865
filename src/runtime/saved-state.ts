import { z } from "zod";
import { NokmodError } from "../core/errors.ts";
import { isDeviceName } from "../port/provider.ts";

/** Version of the state file's format. A file of another version is kept aside. */
export const STATE_VERSION = 2;

const u16 = z.int().min(0).max(0xffff);
const u32 = z.int().min(0).max(0xffff_ffff);
/** Without white space and slash: the name is also used in commands of ip(8). */
const deviceName = z.string().refine(isDeviceName, "expected the name of a net device");
const linkAddress = z.string().regex(/^([0-9a-f]{2}(:[0-9a-f]{2})*)?$/i, "expected a link-layer address or nothing");
const prefix = z.string().regex(/^[0-9a-f.:]+\/\d{1,3}$/i, "expected ADDRESS/PREFIX");

/** Settings of the device of an internal port or a tunnel. */
const device = z.object({
  /** Empty: the device has none. */
  address: linkAddress,
  mtu: u32,
  up: z.boolean(),
  /** ADDRESS/PREFIX */
  addresses: z.array(prefix),
});

const port = z.object({
  name: deviceName,
  /** OVS_VPORT_TYPE_* */
  type: u32,
  portNo: u16,
  ifindex: u32,
  upcallPids: z.array(u32),
  /** UDP port of VXLAN and Geneve. */
  tunnelPort: u16.nullable(),
  gbp: z.boolean(),
});

const meter = z.object({
  id: u32,
  kbps: z.boolean(),
  /** OVS_METER_ATTR_CLEAR */
  clear: z.boolean(),
  bands: z.array(z.object({ type: u32.optional(), rate: u32, burst: u32 })),
});

const datapath = z.object({
  name: deviceName,
  ifindex: u32,
  /** OVS_DP_F_* */
  userFeatures: u32,
  masksCacheSize: u32,
  perCpuPids: z.array(u32).nullable(),
  ports: z.array(port),
  meters: z.array(meter),
});

const savedState = z.object({
  version: z.literal(STATE_VERSION),
  /** /proc/sys/kernel/random/boot_id: ifindexes are of that boot. */
  boot: z.string(),
  datapaths: z.array(datapath),
  /** Empty: no limit was ever set. Zone -1 (OVS_ZONE_LIMIT_DEFAULT_ZONE) is the default. */
  zoneLimits: z.array(z.object({ zone: z.int().min(-1).max(0xffff), limit: u32 })),
  timeoutPolicies: z.array(
    z.object({
      /** By which connections name it (TimeoutPolicyTable). */
      number: z.int().min(1).max(0xffff),
      name: z.string().min(1),
      family: u16,
      proto: u16,
      /** Milliseconds by CTA_TIMEOUT_* number. */
      timeouts: z.array(z.int()),
    }),
  ),
  /** Payload of IFLA_LINKINFO by name of the tunnel device. */
  tunnels: z.record(deviceName, z.base64()),
  devices: z.record(deviceName, device),
});

/** Contents of the state file. */
export type SavedState = z.infer<typeof savedState>;
/** A device as the state file describes it. */
export type SavedDevice = z.infer<typeof device>;
/** A datapath as the state file describes it. */
export type SavedDatapath = SavedState["datapaths"][number];

/**
 * Reads the text of a state file.
 * @throws NokmodError ERR_STATE_FILE; the message names the place in the file and what was expected there
 */
export function parseState(text: string): SavedState {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause;
    throw new NokmodError("ERR_STATE_FILE", `not JSON: ${cause.message}`, { cause });
  }
  const { success, data, error } = savedState.safeParse(value);
  if (success) return data;
  const [issue, ...more] = error.issues;
  const others = more.length === 0 ? "" : ` (and ${more.length} more)`;
  throw new NokmodError("ERR_STATE_FILE", `${placeOf(issue.path)}: ${issue.message}${others}`);
}

/** `datapaths[0].ports[1].name` */
function placeOf(path: readonly PropertyKey[]): string {
  if (path.length === 0) return "the whole";
  return path
    .map((step) => (typeof step === "number" ? `[${step}]` : `.${String(step)}`))
    .join("")
    .replace(/^\./, "");
}
