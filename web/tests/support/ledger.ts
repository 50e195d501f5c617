import { addDays } from "../../src/days";
import { money } from "../../src/format";
import type { Call, Figures } from "../../src/types";
import type { Service } from "./service";

/** All calls and prompts as the service lists them one by one, summed up here: no mart is asked. */
export class Ledger {
  readonly calls: Call[];

  private constructor(readonly rows: Call[]) {
    this.calls = rows.filter(({ role }) => role === "assistant");
  }

  static async of(service: Service): Promise<Ledger> {
    return new Ledger(await service.rows<Call>("/api/v1/events?limit=5000"));
  }

  /** Calls from the first to the last day, both included; without days all there are. */
  within({ since = "", until = "9999" }: { since?: string; until?: string }): Call[] {
    return this.calls.filter(({ day }) => day >= since && day <= until);
  }

  /** The cost of each day with calls. */
  costs(): Map<string, number> {
    const days = grouped(this.calls, ({ day }) => day);
    return new Map([...days].map(([day, calls]) => [day, figures(calls).cost_nanousd]));
  }

  /** What days with calls among the 28 before a day cost in the middle. */
  median(day: string): number {
    const before = [...this.costs()].filter(([of]) => of < day && of >= addDays(day, -28));
    const costs = before.map(([, cost]) => cost).sort((a, b) => a - b);
    const half = costs.length / 2;
    const middle = costs.slice(Math.ceil(half) - 1, Math.floor(half) + 1);
    return middle.reduce((sum, cost) => sum + cost, 0) / middle.length;
  }
}

export function grouped<Key>(calls: Call[], of: (call: Call) => Key): Map<Key, Call[]> {
  const groups = new Map<Key, Call[]>();
  for (const call of calls) {
    const group = groups.get(of(call));
    if (group) group.push(call);
    else groups.set(of(call), [call]);
  }
  return groups;
}

export function figures(calls: Call[]): Figures {
  const sum = (of: (call: Call) => number) => calls.reduce((sum, call) => sum + of(call), 0);
  const kinds = {
    input_tokens: sum((call) => call.input_tokens),
    output_tokens: sum((call) => call.output_tokens),
    cache_read_tokens: sum((call) => call.cache_read_tokens),
    cache_create_tokens: sum((call) => call.cache_create_tokens),
  };
  return {
    message_count: calls.length,
    ...kinds,
    total_tokens: Object.values(kinds).reduce((sum, n) => sum + n, 0),
    cost_nanousd: sum((call) => call.cost_nanousd ?? 0),
    unpriced_count: calls.filter(({ cost_nanousd }) => cost_nanousd === null).length,
  };
}

/** A cost as the page shows it. */
export function cost({ cost_nanousd, unpriced_count }: Figures): string {
  if (unpriced_count === 0) return money(cost_nanousd);
  return cost_nanousd > 0 ? `${money(cost_nanousd)} + ?` : "unpriced";
}
