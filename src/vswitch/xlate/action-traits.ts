import { FlowAt } from "../flow.ts";
import type { Action } from "../ofctl/actions.ts";

/** Whether an action reads or sets a header below a popped MPLS label. */
export function needsHeader(action: Action): boolean {
  switch (action.type) {
    case "resubmit":
    case "goto_table":
    case "ct":
    case "dec_ttl":
    case "mod_tp":
      return true;
    case "set_field":
      return ["ip", "ipv4", "ipv6", "tcp", "udp", "sctp", "icmp4", "icmp6", "arp"].includes(action.field.prerequisite);
    case "load":
      return action.target.field.offset >= FlowAt.NW_SRC;
    case "move":
      return action.target.field.offset >= FlowAt.NW_SRC || action.source.field.offset >= FlowAt.NW_SRC;
    default:
      return false;
  }
}

/** Whether what a list does to the packet can be undone by setting fields back. */
export function reversible(actions: readonly Action[]): boolean {
  return actions.every((action) => {
    switch (action.type) {
      case "ct":
      case "ct_clear":
      case "meter":
      case "push_mpls":
      case "pop_mpls":
      case "resubmit":
      case "goto_table":
      case "dec_mpls_ttl":
      case "dec_ttl":
        return false;
      case "clone":
        return reversible(action.actions);
      default:
        return true;
    }
  });
}
