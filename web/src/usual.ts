// Whether usage is more than usual.

import { addDays } from "./days";
import type { ReportRow } from "./types";

/** Fewer days than these say nothing of what is usual. */
const FEWEST = 5;

/** The median cost of the days with calls among the 28 before a day. */
export function usual(rows: ReportRow[], day: string): { cost: number; days: number } | null {
  const since = addDays(day, -28);
  const costs = rows
    .filter((row) => row.day !== undefined && row.day >= since && row.day < day)
    .map((row) => row.cost_nanousd)
    .sort((a, b) => a - b);
  const cost = ((costs[(costs.length - 1) >> 1] ?? 0) + (costs[costs.length >> 1] ?? 0)) / 2;
  return costs.length < FEWEST || cost === 0 ? null : { cost, days: costs.length };
}

/** By how much the cost of some whole days before today differs from that of as many before them. */
export function change(rows: ReportRow[], today: string, days: number): number | null {
  const sum = (since: string, until: string) =>
    rows
      .filter((row) => row.day !== undefined && row.day >= since && row.day <= until)
      .reduce((sum, row) => sum + row.cost_nanousd, 0);
  const before = sum(addDays(today, -2 * days), addDays(today, -days - 1));
  return before === 0 ? null : sum(addDays(today, -days), addDays(today, -1)) / before - 1;
}
