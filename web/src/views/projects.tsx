// What was spent on each project in the days looked at.

import { Link, Project } from "../parts/basics";
import { Breakdown, CALLS, tokensOf } from "../parts/breakdown";
import type { Column } from "../parts/table";
import { withFilter } from "../place";
import type { ReportRow } from "../types";

const COLUMNS: Column<ReportRow>[] = [
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
  CALLS,
  tokensOf("input", (row) => row.input_tokens, "whole"),
  tokensOf("output", (row) => row.output_tokens, "half"),
  tokensOf("cache", (row) => row.cache_read_tokens + row.cache_create_tokens, "whole"),
  tokensOf("tokens", (row) => row.total_tokens),
];

export function Projects() {
  return <Breakdown by="project" title="Projects" columns={COLUMNS} />;
}
