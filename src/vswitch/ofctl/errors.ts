import { NokmodError } from "../../core/errors.ts";

/**
 * A flow in ovs-ofctl syntax is wrong. `code` is ERR_OFP_SYNTAX (not well formed, unknown name, value out of range) or
 * ERR_OFP_PREREQ (a field or an action whose prerequisite the match lacks).
 */
export class OfpError extends NokmodError {
  /**
   * @param text the whole text that was parsed
   * @param position index of the offending token in it
   * @param token the offending token
   */
  constructor(
    code: "ERR_OFP_SYNTAX" | "ERR_OFP_PREREQ",
    reason: string,
    readonly text: string,
    readonly position: number,
    readonly token: string,
  ) {
    super(code, `${reason}: "${token}" at position ${position} of "${text}"`);
  }
}

/** A part of the text that is parsed, with its position for errors. */
export class Span {
  constructor(
    /** The whole text. */
    readonly source: string,
    readonly start: number,
    readonly end: number,
  ) {}

  static of(text: string): Span {
    return new Span(text, 0, text.length);
  }
  get text(): string {
    return this.source.slice(this.start, this.end);
  }
  /** The part between two indices of this one. */
  slice(start: number, end: number = this.end - this.start): Span {
    return new Span(this.source, this.start + start, this.start + end);
  }
  trim(): Span {
    const text = this.text;
    const lead = text.length - text.trimStart().length;
    return this.slice(lead, Math.max(lead, text.trimEnd().length));
  }
  /** Splits at the first occurrence of `separator`; the second is null where there is none. */
  split(separator: string): [Span, Span | null] {
    const at = this.text.indexOf(separator);
    return at < 0 ? [this, null] : [this.slice(0, at), this.slice(at + separator.length)];
  }
  syntax(reason: string): OfpError {
    return new OfpError("ERR_OFP_SYNTAX", reason, this.source, this.start, this.text);
  }
  prerequisite(reason: string): OfpError {
    return new OfpError("ERR_OFP_PREREQ", reason, this.source, this.start, this.text);
  }
}
