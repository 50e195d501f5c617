// What each model costs, how much of its input comes from the cache, and what a token of it costs.

import { money, percent } from "../format";
import { Link, Name, Share } from "../parts/basics";
import { Breakdown, CALLS, tokensOf } from "../parts/breakdown";
import type { Column } from "../parts/table";
import { withFilter } from "../place";
import type { Figures, ReportRow } from "../types";

const COLUMNS: Column<ReportRow>[] = [
  {
    key: "model",
    title: "model",
    isText: true,
    value: (row) => row.model ?? "",
    cell: (row) => (
      <Link to={{ filters: withFilter("model", row.model ?? "") }}>
        <Name>{row.model}</Name>
      </Link>
    ),
  },
  CALLS,
  tokensOf("output", (row) => row.output_tokens, "whole"),
  tokensOf("tokens", (row) => row.total_tokens, "half"),
  {
    key: "cached",
    title: "from cache",
    needs: "half",
    value: (row) => cacheShare(row) ?? -1,
    cell: (row) => <Cached of={row} />,
  },
  {
    key: "price",
    title: "$ per M tokens",
    value: (row) => price(row) ?? -1,
    cell: (row) => <Price of={row} />,
  },
];

export function Models() {
  return (
    <Breakdown by="model" title="Models" columns={COLUMNS}>
      <p class="muted note">
        From cache is the share of all input that was read from the cache. $ per M tokens is what a
        million tokens of any kind did cost; calls without a known price are left out of the cost,
        and then there is no such price.
      </p>
    </Breakdown>
  );
}

/** Of all input, what was read from the cache. */
export function cacheShare(of: Figures): number | null {
  const input = of.input_tokens + of.cache_read_tokens + of.cache_create_tokens;
  return input === 0 ? null : of.cache_read_tokens / input;
}

/** Nano-USD for a million tokens. Where some calls have no price, their tokens would cheapen it. */
export function price(of: Figures): number | null {
  const isKnown = of.total_tokens > 0 && of.unpriced_count === 0;
  return isKnown ? (of.cost_nanousd / of.total_tokens) * 1e6 : null;
}

function Cached({ of }: { of: Figures }) {
  const share = cacheShare(of);
  return share === null ? <>-</> : <Share of={share}>{percent(share)}</Share>;
}

function Price({ of }: { of: Figures }) {
  const value = price(of);
  return <>{value === null ? "-" : money(value)}</>;
}
