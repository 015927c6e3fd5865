/** Cuts the text of ovs-ofctl into pairs and numbers. */
import type { Span } from "../errors.ts";

/** One `name`, `name=value`, `name:value` or `name(value)`. */
export interface Pair {
  readonly name: Span;
  /** Null where there is none; of a parenthesised value, the text between the parentheses. */
  readonly value: Span | null;
  /** `=`, `:`, `(` or nothing. */
  readonly delimiter: string;
  /** The text after `->` that follows a closing parenthesis. */
  readonly arrow: Span | null;
  readonly whole: Span;
}

const SEPARATORS = ", \t\r\n";

/**
 * Cuts a list of pairs as ovs-ofctl does: pairs are separated by commas and white space, a value reaches to the next
 * separator outside parentheses, and `name(…)` to its closing parenthesis.
 */
export function pairs(span: Span): Pair[] {
  const out: Pair[] = [];
  const text = span.text;
  let at = 0;
  while (at < text.length) {
    if (SEPARATORS.includes(text[at])) {
      at++;
      continue;
    }
    const start = at;
    while (at < text.length && !`:=(${SEPARATORS}`.includes(text[at])) at++;
    const name = span.slice(start, at);
    const delimiter = at < text.length && ":=(".includes(text[at]) ? text[at] : "";
    let value: Span | null = null;
    let arrow: Span | null = null;
    if (delimiter === "(") {
      const close = closing(span, at);
      value = span.slice(at + 1, close);
      at = close + 1;
      if (text.startsWith("->", at)) {
        const from = at + 2;
        while (at < text.length && !SEPARATORS.includes(text[at])) at++;
        arrow = span.slice(from, at);
      }
    } else if (delimiter !== "") {
      const from = ++at;
      while (at < text.length && !SEPARATORS.includes(text[at])) at = text[at] === "(" ? closing(span, at) + 1 : at + 1;
      value = span.slice(from, at);
    }
    if (name.text === "") throw span.slice(start, Math.max(at, start + 1)).syntax("a name is missing");
    out.push({ name, value, delimiter, arrow, whole: span.slice(start, at) });
  }
  return out;
}

function closing(span: Span, open: number): number {
  const text = span.text;
  let depth = 0;
  for (let i = open; i < text.length; i++) {
    if (text[i] === "(") depth++;
    else if (text[i] === ")" && --depth === 0) return i;
  }
  throw span.slice(open).syntax("a closing parenthesis is missing");
}

/** The value of a pair. @throws OfpError where it has none */
export function needValue(pair: Pair): Span {
  if (pair.value === null || pair.value.text === "") throw pair.whole.syntax(`${pair.name.text} needs a value`);
  return pair.value;
}

/** A whole number in decimal or 0x notation, within [minimum, maximum]. @throws OfpError */
export function parseInteger(span: Span, maximum: number, minimum = 0): number {
  const text = span.text;
  if (!/^(0[xX][0-9a-fA-F]+|[0-9]+)$/.test(text)) throw span.syntax("not a number");
  const value = Number(text);
  if (value > maximum || value < minimum) throw span.syntax(`not within ${minimum} to ${maximum}`);
  return value;
}

/** A whole number of up to `bits` bits. @throws OfpError */
export function parseBigInteger(span: Span, bits: number): bigint {
  const text = span.text;
  if (!/^(0[xX][0-9a-fA-F]+|[0-9]+)$/.test(text)) throw span.syntax("not a number");
  const value = BigInt(text);
  if (value >> BigInt(bits)) throw span.syntax(`too big for ${bits} bits`);
  return value;
}
