// The year at a glance: a square for each day, darker the more it cost.

import { useEffect, useRef } from "preact/hooks";
import { addDays, monday, weekday } from "../days";
import { cost, counted, day } from "../format";
import { go, linkTo } from "../place";
import type { ReportRow } from "../types";
import { Section } from "./basics";

const WEEKS = 53;
const STEP = 21;
const SIZE = 17;
const LEFT = 32;
const TOP = 18;
const LEVELS = 4;

export function HeatMap({ rows, until }: { rows: ReportRow[]; until: string }) {
  const svg = useRef<SVGSVGElement>(null);
  const byDay = new Map(rows.map((row) => [row.day ?? "", row]));
  const since = addDays(monday(until), -7 * (WEEKS - 1));
  const level = levels(rows.map((row) => row.cost_nanousd).filter((cost) => cost > 0));
  const squares = Array.from({ length: WEEKS * 7 }, (_, index) => addDays(since, index)).filter(
    (day) => day <= until,
  );
  const active = rows.filter((row) => (row.day ?? "") >= since && row.message_count > 0);
  const total = active.reduce((sum, row) => sum + row.cost_nanousd, 0);
  const unpriced = active.reduce((sum, row) => sum + row.unpriced_count, 0);

  // Where there is no room for the year, its end is what matters.
  useEffect(() => {
    const frame = svg.current?.parentElement;
    frame?.scrollTo({ left: frame.scrollWidth });
  }, []);

  // Arrows go from day to day; only one of them is a stop of the tab key.
  const onKeyDown = (event: KeyboardEvent) => {
    const steps: Record<string, number> = {
      ArrowLeft: -7,
      ArrowRight: 7,
      ArrowUp: -1,
      ArrowDown: 1,
    };
    const step = steps[event.key];
    const from = (event.target as Element).closest("[data-day]")?.getAttribute("data-day");
    if (step === undefined || !from) {
      return;
    }
    event.preventDefault();
    const to = svg.current?.querySelector<SVGAElement>(`[data-day="${addDays(from, step)}"]`);
    to?.focus();
  };

  return (
    <Section
      title="The year"
      aside={
        <span class="muted">
          {cost(total, unpriced)} on {counted(active.length, "day")}
        </span>
      }
    >
      <div class="scroll">
        <svg
          ref={svg}
          class="heatmap"
          width={LEFT + WEEKS * STEP}
          height={TOP + 7 * STEP}
          role="group"
          aria-label="Cost of each day of the year"
          onKeyDown={onKeyDown}
        >
          <Scale since={since} />
          {squares.map((date) => {
            const row = byDay.get(date);
            const to = { range: { since: date, until: date } };
            const label = `${day(date)}: ${row ? cost(row.cost_nanousd, row.unpriced_count) : "nothing"}`;
            return (
              <a
                key={date}
                href={linkTo(to)}
                data-day={date}
                tabIndex={date === until ? 0 : -1}
                aria-label={label}
                onClick={(event) => {
                  event.preventDefault();
                  go(to);
                }}
              >
                <title>{label}</title>
                <rect
                  x={LEFT + weeksBetween(since, date) * STEP}
                  y={TOP + ((weekday(date) + 6) % 7) * STEP}
                  width={SIZE}
                  height={SIZE}
                  rx={3}
                  class={`level-${level(row?.cost_nanousd ?? 0)}`}
                />
              </a>
            );
          })}
        </svg>
      </div>
      <p class="levels muted" aria-hidden="true">
        less{" "}
        {Array.from({ length: LEVELS + 1 }, (_, level) => (
          <i key={level} class={`level-${level}`} />
        ))}{" "}
        more
      </p>
    </Section>
  );
}

/** Months above, some weekdays beside. */
function Scale({ since }: { since: string }) {
  const weeks = Array.from({ length: WEEKS }, (_, week) => addDays(since, week * 7));
  const months = weeks
    .map((first, week) => ({ week, name: day(first).split(" ")[2] ?? "", date: first }))
    .filter(({ date, week }) => week > 0 && Number(date.slice(8)) <= 7);
  return (
    <g aria-hidden="true">
      {months.map(({ week, name, date }) => (
        <text key={date} x={LEFT + week * STEP} y={11}>
          {name}
        </text>
      ))}
      {["Mon", "Wed", "Fri"].map((name, index) => (
        <text key={name} x={0} y={TOP + index * 2 * STEP + 13}>
          {name}
        </text>
      ))}
    </g>
  );
}

function weeksBetween(since: string, date: string): number {
  return Math.floor((Date.parse(date) - Date.parse(since)) / (7 * 86_400_000));
}

/** Of a cost its level, 1 to 4 by quarters of the days with a cost; 0 is nothing. */
export function levels(costs: number[]): (cost: number) => number {
  const ranked = costs.toSorted((a, b) => a - b);
  const bounds = [1, 2, 3].map((n) => ranked[Math.floor((ranked.length * n) / LEVELS)] ?? 0);
  return (cost) => (cost <= 0 ? 0 : 1 + bounds.filter((bound) => cost >= bound).length);
}
