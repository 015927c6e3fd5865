import { chart, format } from "./chart.ts";
import type { Figure } from "./internal.ts";
import type { Metric, Scenario } from "./scenarios.ts";
import { median } from "./traffic.ts";

/** The values of one metric on one peer, one a round. */
export interface Cell {
  readonly peer: string;
  readonly median: number;
  readonly values: readonly number[];
  /** nokmod's value by this one's, the median over the rounds: a machine whose speed drifts does not spoil it. */
  readonly ratio?: number;
}

/** All that a run has found; what bench.json holds. */
export interface Report {
  readonly machine: Machine;
  readonly rounds: number;
  readonly seconds: number;
  readonly peers: readonly string[];
  readonly results: readonly (Metric & { readonly cells: readonly Cell[] })[];
  /** What was measured without devices. */
  readonly figures: readonly Figure[];
}

/** Where it ran. */
export interface Machine {
  readonly processors: number;
  readonly model: string;
  readonly kernel: string;
  readonly node: string;
  readonly ovs: string;
  readonly date: string;
}

/** Values by metric, peer and round. */
export class Results {
  private readonly values = new Map<string, Map<string, number[]>>();

  add(metric: Metric, peer: string, value: number): void {
    const byPeer = this.values.get(metric.id) ?? new Map<string, number[]>();
    this.values.set(metric.id, byPeer);
    byPeer.set(peer, [...(byPeer.get(peer) ?? []), value]);
  }

  /** The cells of a metric, in the order of `peers`. */
  cells(metric: Metric, peers: readonly string[]): Cell[] {
    const byPeer = this.values.get(metric.id);
    const own = byPeer?.get("nokmod");
    const cells: Cell[] = [];
    for (const peer of peers) {
      const values = byPeer?.get(peer);
      if (values === undefined) continue;
      const ratios = peer === "nokmod" ? [] : (own ?? []).map((value, i) => value / values[i]).filter(Number.isFinite);
      const ratio = ratios.length === 0 ? undefined : median(ratios);
      cells.push({ peer, median: median(values), values, ratio });
    }
    return cells;
  }
}

/** An earlier report with what a run of some scenarios has found anew: a metric is replaced whole, and all in order. */
export function merged(earlier: Report, found: Report, scenarios: readonly Scenario[]): Report {
  const fresh = found.results.filter(({ cells }) => cells.length > 0);
  const kept = earlier.results.filter(({ id }) => !fresh.some((result) => result.id === id));
  const ids = scenarios.flatMap(({ metrics }) => metrics.map(({ id }) => id));
  return {
    ...found,
    peers: [...earlier.peers, ...found.peers.filter((peer) => !earlier.peers.includes(peer))],
    results: [...kept, ...fresh].sort((a, b) => ids.indexOf(a.id) - ids.indexOf(b.id)),
    figures: found.figures.length > 0 ? found.figures : earlier.figures,
  };
}

/** The tables, in Markdown. */
export function tables(report: Report): string {
  const { peers, results, figures } = report;
  const rows = [
    ["", ...peers],
    ["---", ...peers.map(() => "---:")],
  ];
  for (const { title, unit, cells } of results) {
    rows.push([
      `${title}, ${unit}`,
      ...peers.map((peer) => {
        const cell = cells.find((c) => c.peer === peer);
        if (cell === undefined) return "–";
        if (peer === "nokmod") return `**${format(cell.median)}**`;
        return cell.ratio === undefined ? format(cell.median) : `${format(cell.median)} (${format(cell.ratio)}×)`;
      }),
    ]);
  }
  if (figures.length === 0) return markdown(rows);
  const inside = [
    ["nokmod without devices", ""],
    ["---", "---:"],
    ...figures.map(({ title, value, unit }) => [title, `${format(value)} ${unit}`]),
  ];
  return `${markdown(rows)}\n\n${markdown(inside)}`;
}

const markdown = (rows: readonly (readonly string[])[]): string =>
  rows.map((row) => `| ${row.join(" | ")} |`).join("\n");

/** The chart, in SVG. */
export function drawing({ results }: Report): string {
  return chart(
    results.map(({ title, unit, lower, cells }) => ({
      title,
      unit: lower ? `${unit}, less is better` : unit,
      bars: cells.map(({ peer, median: value }) => ({ peer, value })),
    })),
  );
}
