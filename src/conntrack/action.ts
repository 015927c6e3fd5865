/** NAT part of a ct action (OVS_NAT_ATTR_*, spec/conntrack section 2). */
export class NatAction {
  /** 0 = bare nat (existing connections only), 1 = SRC, 2 = DST. */
  type: 0 | 1 | 2 = 0;
  /** IP range present (IP_MIN or IP_MAX given). Addresses as four big-endian words, IPv4 in the first. */
  hasIp = false;
  readonly ipMin = new Int32Array(4);
  readonly ipMax = new Int32Array(4);
  hasProto = false;
  protoMin = 0;
  protoMax = 0;
  persistent = false;
  protoHash = false;
  protoRandom = false;
  /** Zone of a new connection's reply tuple when it is another than the action's; -1 = none (NOKMOD_NAT_ATTR_DST_ZONE). */
  replyZone = -1;
  /** NOKMOD_NAT_ATTR_REVERSE */
  reverse = false;
}

/** A validated ct action (OVS_CT_ATTR_*, spec/conntrack section 1). Made when the flow is put; read per packet. */
export class CtAction {
  /** AF_INET (2) or AF_INET6 (10), from the masked key. */
  family = 2;
  zone = 0;
  commit = false;
  /** FORCE_COMMIT; implies commit. */
  force = false;
  hasMark = false;
  mark = 0;
  markMask = 0;
  hasLabels = false;
  /** Big-endian words of the 16 bytes. */
  readonly labels = new Int32Array(4);
  readonly labelsMask = new Int32Array(4);
  helper: string | undefined = undefined;
  /** IP protocol that the flow matches, which helper and timeout policy must be for; 0 = any. */
  ipProto = 0;
  timeout: string | undefined = undefined;
  hasEventmask = false;
  eventmask = 0;
  nat: NatAction | undefined = undefined;
  /** Numbers that connection tracking has resolved helper and timeout to (Conntrack.bind); -1 = not yet, 0 = none. */
  helperNumber = -1;
  policyNumber = -1;
}
