import { Errno } from "../../core/errors.ts";
import { AttributeReader } from "../../netlink/reader.ts";
import { MessageWriter } from "../../netlink/writer.ts";
import { actionAttributes } from "../../schema/openvswitch.ts";
import { EINVAL, EOVERFLOW } from "../../uapi/errno.ts";
import { attributeSize, Draft, type ListCompiler, State, type ValidationContext } from "./draft.ts";
import { Fact, type KeyFacts } from "./facts.ts";
import { ACTION_KINDS } from "./kinds/index.ts";
import { Op, Program } from "./program.ts";

/** Lists deeper than this give EOVERFLOW (spec/actions A-031). */
const MAX_DEPTH = 16;
const ANY_LENGTH = -1;

/** Payload length by OVS_ACTION_ATTR_* (spec/actions ); nests and SET_MASKED check theirs themselves. */
const LENGTHS: readonly number[] = actionAttributes.byType.map((attribute) => {
  if (attribute === undefined) return 0;
  const variable = attribute.inner !== undefined || attribute.name === "SET_MASKED";
  return variable ? ANY_LENGTH : attribute.size;
});

/** Canonical forms are copied out of it. */
const scratchWriter = new MessageWriter();

/**
 * Validates an action list and compiles it, for all flows whose key has these facts.
 * @param view bytes of the message; the attributes of the list are in [start, end)
 * @param facts of the flow's key under its mask; for EXECUTE of the packet's key (spec/actions A-032)
 * @throws Errno EINVAL mostly; ERANGE, EOVERFLOW, EMSGSIZE, ENOENT where the rows of spec/actions section 3 say so.
 *   Nothing has been installed then
 */
export function compileActions(
  view: DataView,
  start: number,
  end: number,
  facts: KeyFacts,
  context: ValidationContext,
): Program {
  const state = new State(facts[Fact.ETHER_TYPE], facts[Fact.TAGGED] === 1, facts[Fact.LABELS], 0, facts);
  return new Compiler(facts, context, scratchWriter.reset()).list(view, start, end, state);
}

class Compiler implements ListCompiler {
  private readonly known: typeof actionAttributes;

  constructor(
    readonly facts: KeyFacts,
    readonly context: ValidationContext,
    readonly writer: MessageWriter,
  ) {
    this.known = actionAttributes.asOf(context.kernel.version);
  }

  /** One list: writes its canonical form and compiles it. */
  list(view: DataView, start: number, end: number, state: State): Program {
    if (state.depth > MAX_DEPTH) throw new Errno(EOVERFLOW);
    const { writer } = this;
    const from = writer.length;
    const draft = new Draft();
    const reader = new AttributeReader(view, start, end);
    while (reader.next()) {
      const { type, length } = reader;
      if (type >= LENGTHS.length || !this.known.knows(type)) throw new Errno(EINVAL);
      if (LENGTHS[type] !== ANY_LENGTH && LENGTHS[type] !== length) throw new Errno(EINVAL);
      // nla_is_last(): padding counts as something that follows.
      const last = reader.offset + length === end;
      draft.ended = false;
      ACTION_KINDS[type].compile(this, reader, state, draft, last);
    }
    if (reader.rest > 0) throw new Errno(EINVAL);
    if (!draft.ended) draft.emit(Op.END);
    const { programs, cts, upcalls, blobs, tunnels, passive, kernelSize } = draft;
    const program = new Program({
      code: new Int32Array(draft.code),
      programs,
      cts,
      upcalls,
      blobs,
      tunnels,
      attributes: writer.bytes.slice(from, writer.length),
      passive,
      kernelSize,
    });
    draft.program = program;
    return program;
  }

  copy(reader: AttributeReader, draft: Draft): void {
    this.writer.raw(reader.type, reader.bytes());
    draft.kernelSize += attributeSize(reader.length);
  }

  nestedList(type: number, reader: AttributeReader, start: number, end: number, state: State): Program {
    const nest = this.writer.nest(type);
    const program = this.list(reader.view, start, end, state.nested(this.facts));
    this.writer.endNest(nest);
    return program;
  }
}
