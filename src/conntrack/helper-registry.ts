import { Errno } from "../core/errors.ts";
import { EBUSY, EINVAL, ENOENT } from "../uapi/errno.ts";
import { AF_INET, AF_INET6 } from "../uapi/socket.ts";
import type { CtAction } from "./action.ts";
import type { ExpectFunction } from "./expect.ts";
import type { Helper, HelperContext } from "./helpers/helper.ts";
import { Ext } from "./layout.ts";

/** NF_CT_HELPER_NAME_LEN less the NUL; NF_CT_EXPECT_MAX_CNT. */
const MAX_HELPER_NAME = 15;
const MAX_EXPECTED = 255;

/** The helpers of a namespace, by name and by the number that entries keep (Ext.HELPER_MASK); 0 is "none". */
export class HelperRegistry {
  /** Functions that expectations may be given, by their CTA_EXPECT_FN name. */
  readonly expectFunctions = new Map<string, ExpectFunction>();
  private readonly helpers: (Helper | undefined)[] = [undefined];

  /**
   * Registers a helper. Its number stays for the life of the instance.
   * @throws Errno EBUSY if there is one of that name for a family and the protocol, EINVAL for a name of more than 15
   * characters or a policy of more than 255 expectations
   */
  register(helper: Helper, context: HelperContext): void {
    const { name, proto, families = [AF_INET, AF_INET6] } = helper;
    if (name === "" || name.length > MAX_HELPER_NAME || this.helpers.length > Ext.HELPER_MASK >>> Ext.HELPER_SHIFT) {
      throw new Errno(EINVAL);
    }
    if (helper.policies.length === 0 || helper.policies.some(({ maxExpected }) => maxExpected > MAX_EXPECTED)) {
      throw new Errno(EINVAL);
    }
    if (families.some((family) => this.find(name, proto, family) !== 0)) throw new Errno(EBUSY);
    this.helpers.push(helper);
    for (const [key, set] of Object.entries(helper.expectFunctions?.(context) ?? {}))
      this.expectFunctions.set(key, set);
  }

  /**
   * Number of a helper, 0 if there is none of that name for protocol and family; 0 stands for any
   * (spec/conntrack C-018, C-218).
   */
  find(name: string, proto: number, family: number): number {
    for (let i = 1; i < this.helpers.length; i++) {
      const helper = this.helpers[i];
      if (helper === undefined || helper.name !== name || (proto !== 0 && helper.proto !== proto)) continue;
      if (family === 0 || helper.families === undefined || helper.families.includes(family)) return i;
    }
    return 0;
  }

  /** A hash of all helpers with their numbers; 32 bits. */
  fingerprint(): number {
    let hash = 0;
    for (const helper of this.helpers) {
      for (const char of `${helper?.name} ${helper?.proto} ${helper?.families};`)
        hash = (Math.imul(hash, 31) + char.charCodeAt(0)) | 0;
    }
    return hash >>> 0;
  }

  get(number: number): Helper | undefined {
    return this.helpers[number];
  }

  /** Checks a helper name at validation time. @returns 0, -EINVAL or -ENOENT (spec/conntrack C-018 to C-020) */
  check(name: string, family: number, ipProto: number, nat: boolean): number {
    const number = ipProto === 0 ? 0 : this.find(name, ipProto, family);
    if (number === 0) return -EINVAL;
    return nat && this.helpers[number]?.nat !== true ? -ENOENT : 0;
  }

  /** Number of the helper that an action names, resolved at its first use and kept in the action. */
  of(action: CtAction): number {
    if (action.helperNumber < 0) {
      action.helperNumber = action.helper === undefined ? 0 : this.find(action.helper, action.ipProto, action.family);
    }
    return action.helperNumber;
  }
}
