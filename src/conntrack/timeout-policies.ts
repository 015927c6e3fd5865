import type { CtAction } from "./action.ts";
import type { TimeoutTable } from "./options.ts";

/** A named set of timeouts (OVS_CT_ATTR_TIMEOUT, nfnetlink_cttimeout). */
export interface TimeoutPolicy {
  readonly name: string;
  readonly family: number;
  readonly proto: number;
  /** Milliseconds by CTA_TIMEOUT_* number; changed in place. */
  readonly timeouts: Int32Array;
}

/** IPPROTO_RAW: the protocol of timeout policies for every protocol that has no tracker of its own. */
const GENERIC = 255;

/** The timeout policies of a namespace, by name and by number; 0 is "none". */
export class TimeoutPolicyTable {
  /** By number. A deleted policy leaves a hole: entries fall back to the defaults (spec/conntrack C-369). */
  private readonly policies: (TimeoutPolicy | undefined)[] = [undefined];

  constructor(private readonly defaults: TimeoutTable) {}

  /** Makes a policy, or changes one of the same name in place. @returns its number */
  set(policy: TimeoutPolicy): number {
    const known = this.find(policy.name);
    if (known > 0) {
      this.policies[known]?.timeouts.set(policy.timeouts);
      return known;
    }
    this.policies.push(policy);
    return this.policies.length - 1;
  }

  /** Makes a policy with the number that kept connections know it by. The number must be free. */
  restore(number: number, policy: TimeoutPolicy): void {
    while (this.policies.length < number) this.policies.push(undefined);
    this.policies[number] = policy;
  }

  /** Number of a policy, or -1. */
  find(name: string): number {
    return this.policies.findIndex((policy) => policy?.name === name);
  }

  get(number: number): TimeoutPolicy | undefined {
    return this.policies[number];
  }

  /** Policies in the order they were made, with their numbers. */
  *entries(): IterableIterator<readonly [number, TimeoutPolicy]> {
    for (let i = 1; i < this.policies.length; i++) {
      const policy = this.policies[i];
      if (policy !== undefined) yield [i, policy];
    }
  }

  /** Deletes a policy; entries that used it fall back to the defaults (spec/conntrack C-369). */
  delete(number: number): void {
    this.policies[number] = undefined;
  }

  /** Timeouts of an entry with this policy number, by CTA_TIMEOUT_* number; the defaults if there is no such policy. */
  timeoutsOf(number: number, defaults: Int32Array): Int32Array {
    return this.policies[number]?.timeouts ?? defaults;
  }

  /**
   * Number of the policy that an action names, resolved at its first use and kept in the action; 0 if there is none, or
   * if it is for another family or protocol, which is no error and has no effect (spec/conntrack C-022, C-370).
   */
  of(action: CtAction): number {
    if (action.policyNumber < 0) {
      action.policyNumber = action.timeout === undefined ? 0 : Math.max(this.find(action.timeout), 0);
    }
    const policy = this.policies[action.policyNumber];
    if (policy === undefined || policy.family !== action.family) return 0;
    const generic = this.defaults.of(action.ipProto) === this.defaults.generic;
    return policy.proto === (generic ? GENERIC : action.ipProto) ? action.policyNumber : 0;
  }
}
