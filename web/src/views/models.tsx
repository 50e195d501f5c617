// What each model costs, how much of its input comes from the cache, and what a token of it costs.

import { path, usage, useApi } from "../api";
import { count, counted, money, percent, tokens } from "../format";
import { Cost, Link, Name, NoCalls, Refusal, Section, Share } from "../parts/basics";
import { OverTime } from "../parts/overtime";
import { type Column, Table } from "../parts/table";
import { place, withFilter } from "../place";
import { days } from "../today";
import type { Figures, Report, ReportRow } from "../types";

export function Models() {
  const { data, problem } = useApi<Report>(
    path("/api/v1/report", {
      by: "model",
      ...usage(place.value, days.value),
      order: "-cost_nanousd",
      limit: 1000,
    }),
  );
  const all = data?.total.cost_nanousd ?? 0;
  const columns: Column<ReportRow>[] = [
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
    {
      key: "calls",
      title: "calls",
      needs: "half",
      value: (row) => row.message_count,
      cell: (row) => count(row.message_count),
    },
    {
      key: "output",
      title: "output",
      needs: "whole",
      value: (row) => row.output_tokens,
      cell: (row) => tokens(row.output_tokens),
    },
    {
      key: "tokens",
      title: "tokens",
      needs: "half",
      value: (row) => row.total_tokens,
      cell: (row) => tokens(row.total_tokens),
    },
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
    {
      key: "cost",
      title: "cost",
      value: (row) => row.cost_nanousd,
      cell: (row) => (
        <Share of={all > 0 ? row.cost_nanousd / all : 0}>
          <Cost of={row} />
        </Share>
      ),
    },
  ];
  return (
    <>
      <OverTime by="model" />
      <Section
        title="Models"
        aside={data && <span class="muted">{counted(data.groups, "model")}</span>}
      >
        {problem && <Refusal problem={problem} />}
        {data?.groups === 0 && <NoCalls />}
        {data && data.groups > 0 && (
          <Table
            label="Models"
            columns={columns}
            rows={data.rows}
            usual="-cost"
            keyOf={(row) => row.model ?? ""}
            foot={
              <tfoot>
                <tr>
                  <th scope="row">total</th>
                  <td class="number needs-half">{count(data.total.message_count)}</td>
                  <td class="number needs-whole">{tokens(data.total.output_tokens)}</td>
                  <td class="number needs-half">{tokens(data.total.total_tokens)}</td>
                  <td class="number needs-half">
                    <Cached of={data.total} />
                  </td>
                  <td class="number">
                    <Price of={data.total} />
                  </td>
                  <td class="number">
                    <Cost of={data.total} />
                  </td>
                </tr>
              </tfoot>
            }
          />
        )}
        <p class="muted note">
          From cache is the share of all input that was read from the cache. $ per M tokens is what
          a million tokens of any kind did cost; calls without a known price are left out of the
          cost, and then there is no such price.
        </p>
      </Section>
    </>
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
