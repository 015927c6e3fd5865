/** One group of bars: a scenario and its value per peer. */
export interface Group {
  readonly title: string;
  readonly unit: string;
  readonly bars: readonly { readonly peer: string; readonly value: number }[];
}

const COLOURS: Record<string, string> = {
  nokmod: "#d9480f",
  netdev: "#4c6ef5",
  "netdev+tso": "#748ffc",
  bridge: "#868e96",
  "C forwarder": "#37b24d",
  "openvswitch.ko": "#f59f00",
  "openvswitch.ko in UML": "#f59f00",
};
const BAR = 18;
const WIDTH = 860;
const LABEL = 160;
const VALUE = 110;

/** Draws groups of horizontal bars as an SVG; each group has a scale of its own. */
export function chart(groups: readonly Group[]): string {
  const parts: string[] = [];
  let y = 10;
  for (const group of groups) {
    const most = Math.max(...group.bars.map((bar) => bar.value), Number.MIN_VALUE);
    parts.push(`<text x="10" y="${y + 16}" class="title">${escapeXml(group.title)} (${escapeXml(group.unit)})</text>`);
    y += 26;
    for (const bar of group.bars) {
      const width = Math.max(1, (bar.value / most) * (WIDTH - LABEL - VALUE));
      const middle = y + BAR / 2 + 4;
      parts.push(
        `<text x="${LABEL - 8}" y="${middle}" text-anchor="end">${escapeXml(bar.peer)}</text>`,
        `<rect x="${LABEL}" y="${y}" width="${width.toFixed(1)}" height="${BAR - 3}" fill="${COLOURS[bar.peer] ?? "#adb5bd"}"/>`,
        `<text x="${LABEL + width + 6}" y="${middle}">${format(bar.value)}</text>`,
      );
      y += BAR;
    }
    y += 14;
  }
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${y}" viewBox="0 0 ${WIDTH} ${y}">`,
    "<style>text{font:12px sans-serif;fill:#343a40}.title{font-weight:bold}</style>",
    `<rect width="${WIDTH}" height="${y}" fill="#fff"/>`,
    ...parts,
    "</svg>",
    "",
  ].join("\n");
}

/** Three significant digits. */
export function format(value: number): string {
  if (value >= 1000) return Math.round(value).toLocaleString("en-US");
  return String(Number(value.toPrecision(3)));
}

const escapeXml = (text: string): string => text.replace(/[<>&"]/g, (c) => `&#${c.charCodeAt(0)};`);
