/** Decoded attributes as JSON and as text: for monitors, logs and test messages. */

/** A value that JSON can hold. */
export type Json = string | number | boolean | null | readonly Json[] | { readonly [name: string]: Json };

/** The result of decode() as JSON: bytes as hexadecimal text, u32 arrays as lists. */
export function toJson(value: unknown): Json {
  if (value instanceof Uint8Array) return Array.from(value, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (value instanceof Uint32Array) return [...value];
  if (Array.isArray(value)) return value.map(toJson);
  if (typeof value === "string" || typeof value === "number" || typeof value === "boolean") return value;
  if (typeof value !== "object" || value === null) return null;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, toJson(inner)]));
}

/**
 * The result of decode() as one line of text: `KEY(IN_PORT=1, ETHERTYPE=2048), ACTIONS[OUTPUT=2]`.
 * A flag is written as its name without a value.
 */
export function toText(value: unknown): string {
  return text(toJson(value), true);
}

function text(value: Json, top: boolean): string {
  if (Array.isArray(value)) return `[${value.map((inner) => text(inner, true)).join(", ")}]`;
  if (typeof value !== "object" || value === null) return String(value);
  const inner = Object.entries(value).map(([name, member]) => {
    if (member === true) return name;
    if (Array.isArray(member)) return `${name}${text(member, false)}`;
    return typeof member === "object" ? `${name}${text(member, false)}` : `${name}=${member}`;
  });
  return top ? inner.join(", ") : `(${inner.join(", ")})`;
}
