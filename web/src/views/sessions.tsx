// All sessions that were active in the days looked at, however many there are.

import { type Signal, useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { AGAIN_MS, ask, path, Refused, usage } from "../api";
import { count, moment, tokens } from "../format";
import { isThere, onRefresh } from "../live";
import { Cost, Link, Name, NoCalls, Project, Refusal, Section } from "../parts/basics";
import { type Column, cellClass, Head } from "../parts/table";
import { Gap, ROW, useVisible } from "../parts/virtual";
import { go, place } from "../place";
import { days, zone } from "../today";
import type { Page, Problem, Session } from "../types";

/** Rows that are asked for at first. */
const PAGE = 200;
/** As many as the service gives at once. Who goes on scrolling wants to get to the end. */
const MORE = 1000;
/** Beyond these a change is shown when the list is scrolled back to its top. */
const FOLLOWED = 1000;
const GAP_MS = 250;

/** Columns by which the service sorts, by the names in the address. */
const ORDERS: Record<string, string> = {
  last: "last_ts",
  first: "first_ts",
  calls: "message_count",
  prompts: "user_message_count",
  output: "output_tokens",
  cache: "cache_read_tokens",
  cost: "cost_nanousd",
  model: "primary_model",
  project: "cwd",
  agent: "provider",
};

const COLUMNS: Column<Session>[] = [
  {
    key: "last",
    width: "var(--when)",
    title: "last call",
    isText: true,
    isTime: true,
    value: (row) => row.last_ts,
    cell: (row) => (
      <Link to={{ view: "sessions", session: idOf(row) }}>{moment(row.last_ts, zone.value)}</Link>
    ),
  },
  {
    key: "project",
    title: "project",
    isText: true,
    value: (row) => row.cwd ?? "",
    cell: (row) => <Project path={row.cwd} />,
  },
  {
    key: "agent",
    width: "124px",
    title: "agent",
    isText: true,
    needs: "whole",
    value: (row) => row.provider,
    cell: (row) => <Name>{row.provider}</Name>,
  },
  {
    key: "model",
    width: "190px",
    title: "model",
    isText: true,
    needs: "half",
    value: (row) => row.primary_model ?? "",
    cell: (row) => <Name>{row.primary_model}</Name>,
  },
  {
    key: "prompts",
    width: "76px",
    title: "prompts",
    needs: "whole",
    value: (row) => row.user_message_count,
    cell: (row) => count(row.user_message_count),
  },
  {
    key: "calls",
    width: "64px",
    title: "calls",
    needs: "half",
    value: (row) => row.message_count,
    cell: (row) => count(row.message_count),
  },
  {
    key: "output",
    width: "84px",
    title: "output",
    needs: "half",
    value: (row) => row.output_tokens,
    cell: (row) => tokens(row.output_tokens),
  },
  {
    key: "cache",
    width: "96px",
    title: "cache read",
    needs: "whole",
    value: (row) => row.cache_read_tokens,
    cell: (row) => tokens(row.cache_read_tokens),
  },
  {
    key: "cost",
    width: "104px",
    title: "cost",
    value: (row) => row.cost_nanousd,
    cell: (row) => <Cost of={row} />,
  },
];

function idOf({ provider, session_id }: Session): string {
  return `${provider}/${session_id}`;
}

interface List {
  /** The question that was answered; none at first. */
  of: string;
  rows: Session[];
  next: string | null;
  problem: Problem | undefined;
}

/** The list as it was left, for who comes back to it from one of its sessions. */
let left: List = { of: "", rows: [], next: null, problem: undefined };

/** Rows of one question, page after page as they are asked for; changes come in by themselves. */
function useSessions(of: string): { list: List; more: () => void } {
  const list = useSignal<List>(left);
  left = list.value;
  const isAsking = useRef(false);

  const more = async () => {
    const { next, of: current } = list.peek();
    if (isAsking.current || next === null || current !== of) {
      return;
    }
    isAsking.current = true;
    try {
      const page = await ask<Page<Session>>(
        `${of}&limit=${MORE}&cursor=${encodeURIComponent(next)}`,
      );
      // The list may have begun anew meanwhile.
      const { rows, ...begun } = list.peek();
      if (begun.next === next && begun.of === of) {
        // A session that moved while pages were read may come twice.
        const known = new Set(rows.map(idOf));
        const added = page.rows.filter((row) => !known.has(idOf(row)));
        list.value = { ...begun, rows: [...rows, ...added], next: page.next_cursor };
      }
    } catch {
      // The next scroll asks again; the connection's own state says why.
    } finally {
      isAsking.current = false;
    }
  };

  useEffect(() => follow(of, list), [of]);
  return { list: list.value, more };
}

/** Loads the first rows of a question now and at each change, until the returned function is called. */
function follow(of: string, list: Signal<List>): () => void {
  let isOutdated = true;
  let isAsking = false;
  let isOver = false;
  let timer: ReturnType<typeof setTimeout> | undefined;

  const load = async () => {
    const shown = Math.ceil((scrollY + innerHeight) / ROW / PAGE) * PAGE;
    const isFar = list.peek().of === of && shown > FOLLOWED;
    if (!isOutdated || isAsking || isOver || isFar || !isThere.peek()) {
      return;
    }
    [isAsking, isOutdated] = [true, false];
    let wait = GAP_MS;
    try {
      const page = await ask<Page<Session>>(`${of}&limit=${Math.min(shown, FOLLOWED)}`);
      if (!isOver) {
        list.value = { of, rows: page.rows, next: page.next_cursor, problem: undefined };
      }
    } catch (error) {
      const problem = error instanceof Refused ? error.problem : undefined;
      if (problem && problem.status !== 503) {
        if (!isOver) {
          list.value = { of, rows: [], next: null, problem };
        }
      } else {
        // What is shown stays; the connection's own state says why.
        [isOutdated, wait] = [true, AGAIN_MS];
      }
    }
    timer = setTimeout(() => {
      isAsking = false;
      load();
    }, wait);
  };

  const stop = onRefresh(() => {
    isOutdated = true;
    load();
  });
  addEventListener("scroll", load, { passive: true });
  // Who comes back is first taken to where the list was left.
  timer = setTimeout(load, list.peek().of === of ? GAP_MS : 0);
  return () => {
    isOver = true;
    clearTimeout(timer);
    stop();
    removeEventListener("scroll", load);
  };
}

export function Sessions() {
  const usual = "-last";
  const sort = place.value.sort || usual;
  const column = ORDERS[sort.replace("-", "")] ?? "last_ts";
  const order = sort.startsWith("-") ? `-${column}` : column;
  const question = path("/api/v1/marts/session", {
    ...usage(place.value, days.value),
    order,
  });
  const { list, more } = useSessions(question);
  const body = useRef<HTMLTableSectionElement>(null);
  const { first, end } = useVisible(body, list.rows.length);

  useEffect(() => {
    if (end >= list.rows.length - PAGE / 2) {
      more();
    }
  }, [end, list.rows.length, list.next]);

  const isEmpty = list.rows.length === 0 && list.of === question && !list.problem;
  return (
    <Section
      title="Sessions"
      aside={
        <span class="muted">
          {list.of === question && (
            <>
              {count(list.rows.length)}
              {list.next !== null && " and more"}, active in these days; their figures are of all
              time
            </>
          )}
        </span>
      }
    >
      {list.problem && <Refusal problem={list.problem} />}
      {isEmpty && <NoCalls />}
      <div class="scroll">
        <table
          aria-label="Sessions"
          class="long open"
          aria-rowcount={list.next ? -1 : list.rows.length + 1}
        >
          <Head columns={COLUMNS} usual={usual} />
          <tbody ref={body} onKeyDown={walkRows}>
            <Gap rows={first} />
            {list.rows.slice(first, end).map((row, index) => (
              <tr
                key={idOf(row)}
                data-key={idOf(row)}
                aria-rowindex={first + index + 2}
                onClick={(event) => openRow(event, row)}
              >
                {COLUMNS.map((column) => (
                  <td key={column.key} class={cellClass(column)}>
                    {column.cell(row)}
                  </td>
                ))}
              </tr>
            ))}
            <Gap rows={list.rows.length - end} />
          </tbody>
        </table>
      </div>
    </Section>
  );
}

/** A click anywhere on a row is one on its link, unless text is marked or the link is meant. */
function openRow(event: MouseEvent, row: Session): void {
  const isElsewhere = event.ctrlKey || event.metaKey || event.shiftKey || event.defaultPrevented;
  const isMarking = getSelection()?.isCollapsed === false;
  if (!isElsewhere && !isMarking && !(event.target as Element).closest("a")) {
    go({ view: "sessions", session: idOf(row) });
  }
}

/** Arrows go from the link of a row to that of its neighbour. */
export function walkRows(event: KeyboardEvent): void {
  const row = (event.target as Element).closest("tr");
  const to = event.key === "ArrowDown" ? row?.nextElementSibling : row?.previousElementSibling;
  if (event.key !== "ArrowDown" && event.key !== "ArrowUp") {
    return;
  }
  const link = to?.querySelector("a");
  if (link) {
    event.preventDefault();
    link.focus();
    link.scrollIntoView({ block: "nearest" });
  }
}
