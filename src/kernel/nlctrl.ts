import { Errno } from "../core/errors.ts";
import { type AnyAttributeSet, putPolicy, type SetValues } from "../netlink/schema/index.ts";
import type { MessageWriter } from "../netlink/writer.ts";
import { getFamily, getPolicy, nlctrl } from "../schema/genetlink.ts";
import { EINVAL, ENODATA, ENOENT } from "../uapi/errno.ts";
import * as nl from "../uapi/genetlink.ts";
import { NLA_F_NESTED, NLM_F_MULTI } from "../uapi/netlink.ts";
import type { GenericNetlink } from "./genetlink.ts";
import { type GenlOperation, type GenlRequest, operationFlags, type RegisteredFamily } from "./genl-family.ts";
import { RECORD_TOO_LONG, RecordDump } from "./record-dump.ts";

const VERSION = 2;

/** The generic-netlink controller, family 16 (spec/families F-011 to F-015). */
export function addController(genl: GenericNetlink): RegisteredFamily {
  return genl.add(
    {
      name: "nlctrl",
      version: VERSION,
      headerSize: 0,
      maxAttr: 0,
      operations: [
        {
          cmd: nl.CTRL_CMD_GETFAMILY,
          flags: 0,
          attributes: getFamily,
          doit: (request) => {
            putFamily(request.begin(nl.CTRL_CMD_NEWFAMILY), find(genl, request, false));
            request.reply();
          },
          dumpit: (request) => new FamilyDump(genl, request),
          checkedDump: true,
        },
        {
          cmd: nl.CTRL_CMD_GETPOLICY,
          flags: 0,
          attributes: getPolicy,
          strictDump: true,
          checkedDump: true,
          dumpit: (request) => new PolicyDump(find(genl, request, true), request),
        },
      ],
      groups: ["notify"],
      firstStrictCommand: nl.CTRL_CMD_GETPOLICY + 1,
    },
    nl.GENL_ID_CTRL,
    nl.GENL_ID_CTRL,
  );
}

/** The family that a request names. GETFAMILY goes by the name if both are given, GETPOLICY by the number. */
function find(genl: GenericNetlink, request: GenlRequest, idFirst: boolean): RegisteredFamily {
  const { attrs } = request;
  const hasId = attrs.has(nl.CTRL_ATTR_FAMILY_ID);
  const hasName = attrs.has(nl.CTRL_ATTR_FAMILY_NAME);
  if (!hasId && !hasName) throw new Errno(EINVAL);
  const family =
    hasName && !(hasId && idFirst)
      ? genl.byName(attrs.string(nl.CTRL_ATTR_FAMILY_NAME))
      : genl.byId(attrs.u16(nl.CTRL_ATTR_FAMILY_ID));
  if (family === undefined) throw new Errno(ENOENT);
  return family;
}

/** The attributes of CTRL_CMD_NEWFAMILY by family; a family does not change once it is registered. */
const descriptions = new WeakMap<RegisteredFamily, SetValues<typeof nlctrl>>();

/** Writes the attributes of CTRL_CMD_NEWFAMILY, in the kernel's order (spec/families F-011 to F-013). */
function putFamily(writer: MessageWriter, family: RegisteredFamily): void {
  let description = descriptions.get(family);
  if (description === undefined) {
    description = describeFamily(family);
    descriptions.set(family, description);
  }
  nlctrl.encode(writer, description);
}

function describeFamily(family: RegisteredFamily): SetValues<typeof nlctrl> {
  const { name, id, version, headerSize, maxAttr, operations, groups, firstGroup } = family;
  return {
    FAMILY_NAME: name,
    FAMILY_ID: id,
    VERSION: version,
    HDRSIZE: headerSize,
    MAXATTR: maxAttr,
    OPS: notEmpty(operations.map((operation) => ({ ID: operation.cmd, FLAGS: operationFlags(family, operation) }))),
    MCAST_GROUPS: notEmpty(groups.map((group, i) => ({ ID: firstGroup + i, NAME: group }))),
  };
}

/** The list, or undefined: a family without operations or groups has no attribute for them. */
const notEmpty = <T>(list: T[]): T[] | undefined => (list.length === 0 ? undefined : list);

/** GETFAMILY dump: all families by number; NLMSG_DONE is in the last datagram with records. */
class FamilyDump extends RecordDump {
  private next = 0;

  constructor(
    private readonly genl: GenericNetlink,
    request: GenlRequest,
  ) {
    super(request);
  }

  fill(writer: MessageWriter, room: number): number {
    for (const family of this.genl.list()) {
      if (family.id < this.next) continue;
      const at = writer.beginMessage(this.familyId, NLM_F_MULTI, this.seq, this.portId);
      writer.genl(nl.CTRL_CMD_NEWFAMILY, VERSION);
      putFamily(writer, family);
      writer.endMessage(at);
      if (writer.length > room) {
        writer.cancel(at);
        return RECORD_TOO_LONG;
      }
      this.next = family.id + 1;
    }
    return 0;
  }
}

/** GETPOLICY dump: which rules each operation has, by index, then the rules one message each. */
class PolicyDump extends RecordDump {
  private readonly records: ((writer: MessageWriter) => void)[] = [];
  private readonly sets: AnyAttributeSet[] = [];
  private next = 0;

  constructor(
    private readonly family: RegisteredFamily,
    request: GenlRequest,
  ) {
    super(request);
    let { operations } = family;
    if (request.attrs.has(nl.CTRL_ATTR_OP)) {
      const cmd = request.attrs.u32(nl.CTRL_ATTR_OP);
      operations = operations.filter((operation) => operation.cmd === cmd);
      if (operations.length === 0) {
        const offset = request.attrs.offset[nl.CTRL_ATTR_OP] - 4 - request.message.start;
        throw new Errno(ENOENT, undefined, offset);
      }
    }
    for (const operation of operations) {
      const set = operation.attributes ?? family.attributes;
      if (set !== undefined) this.collect(set);
    }
    if (this.sets.length === 0) throw new Errno(ENODATA);
    for (const operation of operations) this.records.push((writer) => this.putOperation(writer, operation));
    for (const set of this.sets) {
      for (const attribute of set.byType) {
        if (attribute === undefined || attribute.rule === 0) continue;
        this.records.push((writer) => {
          // Not by the table: an upper bound of 2^64 - 1 is no number, and an extended ack has the same rule elsewhere.
          const nest = writer.nest(nl.CTRL_ATTR_POLICY | NLA_F_NESTED);
          const inner = writer.nest(this.sets.indexOf(set) | NLA_F_NESTED);
          putPolicy(writer, attribute, attribute.type, (other) => this.sets.indexOf(other));
          writer.endNest(inner);
          writer.endNest(nest);
        });
      }
    }
  }

  fill(writer: MessageWriter, room: number): number {
    while (this.next < this.records.length) {
      const at = writer.beginMessage(this.familyId, NLM_F_MULTI, this.seq, this.portId);
      writer.genl(nl.CTRL_CMD_GETPOLICY, VERSION);
      nlctrl.encode(writer, { FAMILY_ID: this.family.id });
      this.records[this.next](writer);
      writer.endMessage(at);
      if (writer.length > room) {
        writer.cancel(at);
        break;
      }
      this.next++;
    }
    return writer.length;
  }

  private putOperation(writer: MessageWriter, operation: GenlOperation): void {
    const set = operation.attributes ?? this.family.attributes;
    if (set === undefined) return;
    const index = this.sets.indexOf(set);
    const DO = operation.doit === undefined ? undefined : index;
    const DUMP = operation.dumpit !== undefined && operation.checkedDump === true ? index : undefined;
    nlctrl.encode(writer, { OP_POLICY: [[operation.cmd, { DO, DUMP }]] });
  }

  private collect(set: AnyAttributeSet): void {
    if (this.sets.includes(set)) return;
    this.sets.push(set);
    for (const attribute of set.byType)
      if (attribute?.deep === true && attribute.inner !== undefined) this.collect(attribute.inner());
  }
}
