// What was spent on each project in the days looked at.

import { path, usage, useApi } from "../api";
import { count, counted, tokens } from "../format";
import { Cost, Link, NoCalls, Project, Refusal, Section, Share } from "../parts/basics";
import { OverTime } from "../parts/overtime";
import { type Column, Table } from "../parts/table";
import { place, withFilter } from "../place";
import { days } from "../today";
import type { Figures, Report, ReportRow } from "../types";

/** More of them than anybody reads; the total has all. */
const MOST = 1000;

export function Projects() {
  const { data, problem } = useApi<Report>(
    path("/api/v1/report", {
      by: "project",
      ...usage(place.value, days.value),
      order: "-cost_nanousd",
      limit: MOST,
    }),
  );
  const columns: Column<ReportRow>[] = [
    {
      key: "project",
      title: "project",
      isText: true,
      value: (row) => row.project_name ?? row.project ?? "",
      cell: (row) => (
        <Link to={{ filters: withFilter("project", row.project ?? "") }}>
          <Project path={row.project ?? null} />
        </Link>
      ),
    },
    {
      key: "folder",
      title: "folder",
      isText: true,
      needs: "whole",
      value: (row) => row.project ?? "",
      cell: (row) => (
        <bdi class="path muted" title={row.project}>
          {row.project}
        </bdi>
      ),
    },
    ...figures(data?.total),
  ];
  return (
    <>
      <OverTime by="project" />
      <Section
        title="Projects"
        aside={data && <span class="muted">{counted(data.groups, "project")}</span>}
      >
        {problem && <Refusal problem={problem} />}
        {data?.groups === 0 && <NoCalls />}
        {data && data.groups > 0 && (
          <Table
            label="Projects"
            columns={columns}
            rows={data.rows}
            usual="-cost"
            keyOf={(row) => row.project ?? ""}
            foot={<Total of={data.total} texts={2} />}
          />
        )}
      </Section>
    </>
  );
}

/** Calls, tokens and cost, as most tables have them. */
export function figures(total: Figures | undefined): Column<ReportRow>[] {
  const all = total?.cost_nanousd ?? 0;
  return [
    {
      key: "calls",
      title: "calls",
      needs: "half",
      value: (row) => row.message_count,
      cell: (row) => count(row.message_count),
    },
    {
      key: "input",
      title: "input",
      needs: "whole",
      value: (row) => row.input_tokens,
      cell: (row) => tokens(row.input_tokens),
    },
    {
      key: "output",
      title: "output",
      needs: "half",
      value: (row) => row.output_tokens,
      cell: (row) => tokens(row.output_tokens),
    },
    {
      key: "cache",
      title: "cache",
      needs: "whole",
      value: (row) => row.cache_read_tokens + row.cache_create_tokens,
      cell: (row) => tokens(row.cache_read_tokens + row.cache_create_tokens),
    },
    {
      key: "tokens",
      title: "tokens",
      value: (row) => row.total_tokens,
      cell: (row) => tokens(row.total_tokens),
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
}

export function Total({ of, texts }: { of: Figures; texts: number }) {
  return (
    <tfoot>
      <tr>
        <th scope="row">total</th>
        {texts > 1 && <td class="needs-whole" />}
        <td class="number needs-half">{count(of.message_count)}</td>
        <td class="number needs-whole">{tokens(of.input_tokens)}</td>
        <td class="number needs-half">{tokens(of.output_tokens)}</td>
        <td class="number needs-whole">{tokens(of.cache_read_tokens + of.cache_create_tokens)}</td>
        <td class="number">{tokens(of.total_tokens)}</td>
        <td class="number">
          <Cost of={of} />
        </td>
      </tr>
    </tfoot>
  );
}
