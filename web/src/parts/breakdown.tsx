// Usage of the days looked at, by project or by model: over time, and as a table with its total.

import type { ComponentChildren } from "preact";
import { path, usage, useApi } from "../api";
import { count, counted, tokens } from "../format";
import { place } from "../place";
import { days } from "../today";
import type { Report, ReportRow } from "../types";
import { Cost, NoCalls, Refusal, Section, Share } from "./basics";
import { OverTime } from "./overtime";
import { type Column, cellClass, Table } from "./table";

/** More of them than anybody reads; the total has all. */
const MOST = 1000;

export function Breakdown(props: {
  by: "project" | "model";
  title: string;
  /** Those between the name and the cost. */
  columns: Column<ReportRow>[];
  children?: ComponentChildren;
}) {
  const { by, title, children } = props;
  const { data, problem } = useApi<Report>(
    path("/api/v1/report", {
      by,
      ...usage(place.value, days.value),
      order: "-cost_nanousd",
      limit: MOST,
    }),
  );
  const columns = [...props.columns, costOf(data?.total.cost_nanousd ?? 0)];
  return (
    <>
      <OverTime by={by} />
      <Section title={title} aside={data && <span class="muted">{counted(data.groups, by)}</span>}>
        {problem && <Refusal problem={problem} />}
        {data?.groups === 0 && <NoCalls />}
        {data && data.groups > 0 && (
          <Table
            label={title}
            columns={columns}
            rows={data.rows}
            usual="-cost"
            keyOf={(row) => row[by] ?? ""}
            foot={<Total columns={columns} of={data.total} />}
          />
        )}
        {children}
      </Section>
    </>
  );
}

function Total({ columns, of }: { columns: Column<ReportRow>[]; of: ReportRow }) {
  const [, ...others] = columns;
  return (
    <tfoot>
      <tr>
        <th scope="row">total</th>
        {others.map((column) => (
          <td key={column.key} class={cellClass(column)}>
            {column.isText ? "" : column.cell(of)}
          </td>
        ))}
      </tr>
    </tfoot>
  );
}

function costOf(all: number): Column<ReportRow> {
  return {
    key: "cost",
    title: "cost",
    value: (row) => row.cost_nanousd,
    cell: (row) => (
      <Share of={all > 0 ? row.cost_nanousd / all : 0}>
        <Cost of={row} />
      </Share>
    ),
  };
}

export const CALLS: Column<ReportRow> = {
  key: "calls",
  title: "calls",
  needs: "half",
  value: (row) => row.message_count,
  cell: (row) => count(row.message_count),
};

/** A kind of tokens, or a sum of some. */
export function tokensOf(
  key: string,
  value: (row: ReportRow) => number,
  needs?: "half" | "whole",
): Column<ReportRow> {
  const cell = (row: ReportRow) => tokens(value(row));
  return { key, title: key, value, cell, ...(needs ? { needs } : {}) };
}
