// Cost or tokens over the days looked at, stacked by agent, model or project.

import { useRef } from "preact/hooks";
import { path, usage, useAnswer, useApi } from "../api";
import { colorsOf, OTHERS } from "../colors";
import {
  type Bucket,
  bucketOf,
  bucketRange,
  bucketStart,
  buckets,
  common,
  daysIn,
  type Range,
} from "../days";
import { cost, day, folderName, money, month, shortDay, tokens } from "../format";
import { go, type Measure, place, type StackedBy } from "../place";
import { days, today } from "../today";
import type { Figures, Report, ReportRow } from "../types";
import { Cost, Link, NoCalls, Nothing, Refusal, Section } from "./basics";
import { type Series, StackedBars } from "./chart";

/** Parts of a bar that can be told apart. */
const MOST = 7;

const STACKED: Record<StackedBy, string> = {
  provider: "agent",
  model: "model",
  project: "project",
};

/** An answer, and what was asked: a chart is never drawn of one question's rows as another's. */
interface Asked {
  report: Report;
  by: StackedBy;
  bucket: Bucket;
  range: Range;
}

export function OverTime({ by: fixed }: { by?: StackedBy }) {
  const { show } = place.value;
  const by = fixed ?? place.value.by;
  const range = useWholeRange();
  const bucket = range && bucketOf(range);
  const { data, problem } = useAnswer<Report>(
    range && bucket
      ? path("/api/v1/report", { by: [bucket, by], ...usage(place.value, range), limit: 5000 })
      : null,
  );
  // Until the next one is answered, the question before stands with its answer.
  const answered = useRef<Asked>(null);
  if (data && range && bucket) {
    answered.current = { report: data, by, bucket, range };
  }
  const asked = problem ? null : answered.current;
  return (
    <Section
      title={`${show === "cost" ? "Cost" : "Tokens"} over time`}
      aside={
        <div class="choices">
          {!fixed && (
            <Choice label="Stacked by" options={STACKED} value={by} onPick={(by) => go({ by })} />
          )}
          <Choice
            label="Shown"
            options={{ cost: "cost", tokens: "tokens" }}
            value={show}
            onPick={(show) => go({ show })}
          />
        </div>
      }
    >
      {problem && <Refusal problem={problem} />}
      {asked?.report.groups === 0 && <NoCalls />}
      {asked && asked.report.groups > 0 && <Bars asked={asked} show={show} />}
    </Section>
  );
}

/** Longer ranges have no bars where nothing was used: it would be a bar for each month since year 1. */
const LONG = 1100;

/** The days looked at with a first and a last one: all days begin with the first that has calls. */
function useWholeRange(): Range | null {
  const { since, until } = days.value;
  const { data: first } = useApi<Report>(path("/api/v1/report", { by: "day", limit: 1 }));
  if (!first || today.value === null) {
    return null;
  }
  const all = { since: first.rows[0]?.day ?? today.value, until: today.value };
  if (since === undefined || until === undefined) {
    return all;
  }
  const range = { since, until };
  return daysIn(range) > LONG && since <= all.until && until >= all.since
    ? common(range, all)
    : range;
}

function measure(of: Figures, show: Measure): number {
  return show === "cost" ? of.cost_nanousd : of.total_tokens;
}

function Bars({ asked, show }: { asked: Asked; show: Measure }) {
  const { report, by, bucket, range } = asked;
  const all = buckets(bucket, range);
  const series = seriesOf(report.rows, by, show, bucket, all);
  const format = show === "cost" ? cost : (value: number) => tokens(value);
  const { total } = report;
  const title = `${show} by ${bucket}, stacked by ${STACKED[by]}: ${format(measure(total, show), total.unpriced_count)} in all`;
  const names = { day, week: (start: string) => `week of ${day(start)}`, month };
  const ticks = { day: shortDay, week: shortDay, month };
  return (
    <>
      {show === "cost" && total.cost_nanousd === 0 && total.unpriced_count > 0 && (
        <Nothing title="No price is known for these calls">
          <p>
            <Link to={{ show: "tokens" }}>Show their tokens</Link>
          </p>
        </Nothing>
      )}
      <StackedBars
        title={title}
        labels={all.map(ticks[bucket])}
        names={all.map(names[bucket])}
        series={series}
        format={format}
        axis={show === "cost" ? money : tokens}
        onPick={(index) => {
          const start = all[index];
          if (start !== undefined) {
            go({ range: common(bucketRange(bucket, start), range) });
          }
        }}
      />
      <ul class="legend">
        {series.toReversed().map(({ name, label, color, values, unpriced }) => (
          <li key={name}>
            <i class="dot" style={{ background: color }} />
            <bdi class="name" title={name}>
              {label}
            </bdi>{" "}
            <b>
              {show === "cost" ? (
                <Cost of={{ cost_nanousd: sum(values), unpriced_count: sum(unpriced) }} />
              ) : (
                tokens(sum(values))
              )}
            </b>
          </li>
        ))}
      </ul>
      <details class="figures">
        <summary>Figures by {bucket}</summary>
        {/* biome-ignore lint/a11y/noNoninteractiveTabindex: who has no wheel scrolls it by keys */}
        <section class="scroll" tabIndex={0} aria-label={`Figures by ${bucket}`}>
          <table aria-label={title}>
            <thead>
              <tr>
                <th scope="col">{bucket}</th>
                {series.toReversed().map(({ name, label }) => (
                  <th key={name} scope="col" class="number">
                    <bdi class="name">{label}</bdi>
                  </th>
                ))}
                <th scope="col" class="number">
                  all
                </th>
              </tr>
            </thead>
            <tbody>
              {all
                .map((start, index) => (
                  <tr key={start} data-key={start}>
                    <th scope="row">{names[bucket](start)}</th>
                    {series.toReversed().map(({ name, values, unpriced }) => (
                      <td key={name} class="number">
                        {format(values[index] ?? 0, unpriced[index] ?? 0)}
                      </td>
                    ))}
                    <td class="number">
                      {format(
                        sum(series.map(({ values }) => values[index] ?? 0)),
                        sum(series.map(({ unpriced }) => unpriced[index] ?? 0)),
                      )}
                    </td>
                  </tr>
                ))
                .toReversed()}
            </tbody>
          </table>
        </section>
      </details>
    </>
  );
}

/** The largest parts, from the smallest up, upon all others together. */
export function seriesOf(
  rows: ReportRow[],
  by: StackedBy,
  show: Measure,
  bucket: Bucket,
  all: string[],
): Series[] {
  const places = new Map(all.map((start, index) => [start, index]));
  const none = () => new Array<number>(all.length).fill(0);
  const parts = new Map<string, { values: number[]; unpriced: number[] }>();
  for (const row of rows) {
    const name = row[by] ?? "";
    const start = row[bucket] ?? "";
    const index = places.get(bucket === "week" ? bucketStart("week", start) : start);
    if (index !== undefined) {
      const { values, unpriced } = parts.get(name) ?? { values: none(), unpriced: none() };
      values[index] = (values[index] ?? 0) + measure(row, show);
      unpriced[index] = (unpriced[index] ?? 0) + row.unpriced_count;
      parts.set(name, { values, unpriced });
    }
  }
  const ranked = [...parts]
    .map(([name, part]) => ({ name, ...part }))
    .sort((a, b) => sum(b.values) - sum(a.values) || (a.name < b.name ? -1 : 1));
  // One more takes no more room than a word for it.
  const shown = ranked.length === MOST + 1 ? ranked.length : MOST;
  const [named, others] = [ranked.slice(0, shown), ranked.slice(shown)];
  const colors = colorsOf(
    by,
    named.map(({ name }) => name),
  );
  const series: Series[] = named.map((part, index) => ({
    ...part,
    label: by === "project" ? folderName(part.name) || "no folder" : part.name || "unknown",
    color: colors[index] ?? OTHERS,
  }));
  if (others.length > 0) {
    const label = `${others.length} others`;
    const sums = (of: "values" | "unpriced") =>
      all.map((_, index) => sum(others.map((part) => part[of][index] ?? 0)));
    const [values, unpriced] = [sums("values"), sums("unpriced")];
    series.push({ name: label, label, color: OTHERS, values, unpriced });
  }
  return series.reverse();
}

function sum(values: number[]): number {
  return values.reduce((all, value) => all + value, 0);
}

export function Choice<Value extends string>(props: {
  label: string;
  options: Record<Value, string>;
  value: Value;
  onPick: (value: Value) => void;
}) {
  const { label, options, value, onPick } = props;
  return (
    <fieldset class="choice">
      <legend class="hidden">{label}</legend>
      {(Object.entries(options) as [Value, string][]).map(([name, title]) => (
        <button key={name} type="button" aria-pressed={name === value} onClick={() => onPick(name)}>
          {title}
        </button>
      ))}
    </fieldset>
  );
}
