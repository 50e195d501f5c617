// Cost or tokens over the days looked at, stacked by agent, model or project.

import { path, usage, useApi } from "../api";
import { colorOf, OTHERS } from "../colors";
import { bucketOf, bucketRange, bucketStart, buckets, type Range } from "../days";
import { day, folderName, money, month, shortDay, tokens } from "../format";
import { go, type Measure, place, type StackedBy } from "../place";
import { days, today } from "../today";
import type { Figures, Report, ReportRow } from "../types";
import { Cost, NoCalls, Refusal, Section } from "./basics";
import { type Series, StackedBars } from "./chart";

/** Parts of a bar that can be told apart. */
const MOST = 7;

const STACKED: Record<StackedBy, string> = {
  provider: "agent",
  model: "model",
  project: "project",
};

export function OverTime({ by: fixed }: { by?: StackedBy }) {
  const { show } = place.value;
  const by = fixed ?? place.value.by;
  const range = useWholeRange();
  const bucket = range && bucketOf(range);
  const { data, problem } = useApi<Report>(
    range && bucket
      ? path("/api/v1/report", { by: [bucket, by], ...usage(place.value, range), limit: 5000 })
      : null,
  );
  const format = show === "cost" ? money : tokens;
  const total = data ? measure(data.total, show) : 0;
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
      {data?.groups === 0 && <NoCalls />}
      {data && data.groups > 0 && range && bucket && (
        <Bars
          rows={data.rows}
          by={by}
          show={show}
          bucket={bucket}
          range={range}
          format={format}
          title={`${show} by ${bucket}, stacked by ${STACKED[by]}: ${format(total)} in all`}
        />
      )}
    </Section>
  );
}

/** The days looked at with a first and a last one: all days begin with the first that has calls. */
function useWholeRange(): Range | null {
  const { since, until } = days.value;
  const isOpen = since === undefined;
  const first = useApi<Report>(
    isOpen ? path("/api/v1/report", { by: "day", limit: 1 }) : null,
  ).data;
  if (since !== undefined && until !== undefined) {
    return { since, until };
  }
  if (!first || today.value === null) {
    return null;
  }
  return { since: first.rows[0]?.day ?? today.value, until: today.value };
}

function measure(of: Figures, show: Measure): number {
  return show === "cost" ? of.cost_nanousd : of.total_tokens;
}

function Bars(props: {
  rows: ReportRow[];
  by: StackedBy;
  show: Measure;
  bucket: "day" | "week" | "month";
  range: Range;
  format: (value: number) => string;
  title: string;
}) {
  const { rows, by, show, bucket, range, format, title } = props;
  const all = buckets(bucket, range);
  const series = seriesOf(rows, by, show, bucket, all);
  const label = bucket === "month" ? month : bucket === "week" ? shortDay : dayLabel(range);
  return (
    <>
      <StackedBars
        title={title}
        labels={all.map(label)}
        series={series}
        format={format}
        onPick={(index) => {
          const start = all[index];
          if (start !== undefined) {
            go({ range: bucketRange(bucket, start) });
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
                <Cost of={{ cost_nanousd: sum(values), unpriced_count: unpriced }} />
              ) : (
                format(sum(values))
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
                    <th scope="row">{bucket === "day" ? day(start) : label(start)}</th>
                    {series.toReversed().map(({ name, values }) => (
                      <td key={name} class="number">
                        {format(values[index] ?? 0)}
                      </td>
                    ))}
                    <td class="number">
                      {format(series.reduce((all, { values }) => all + (values[index] ?? 0), 0))}
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

/** Days of one week go by their weekdays. */
function dayLabel(range: Range): (of: string) => string {
  return range.since === range.until ? day : shortDay;
}

interface Part extends Series {
  /** Calls without a known price: their cost is in no bar. */
  unpriced: number;
}

/** The largest parts, from the smallest up, upon all others together. */
export function seriesOf(
  rows: ReportRow[],
  by: StackedBy,
  show: Measure,
  bucket: "day" | "week" | "month",
  all: string[],
): Part[] {
  const places = new Map(all.map((start, index) => [start, index]));
  const values = new Map<string, number[]>();
  const unpriced = new Map<string, number>();
  for (const row of rows) {
    const name = row[by] ?? "";
    const start = row[bucket] ?? "";
    const index = places.get(bucket === "week" ? bucketStart("week", start) : start);
    if (index !== undefined) {
      const of = values.get(name) ?? new Array<number>(all.length).fill(0);
      of[index] = (of[index] ?? 0) + measure(row, show);
      values.set(name, of);
      unpriced.set(name, (unpriced.get(name) ?? 0) + row.unpriced_count);
    }
  }
  const ranked = [...values]
    .map(([name, values]) => ({ name, values, unpriced: unpriced.get(name) ?? 0 }))
    .sort((a, b) => sum(b.values) - sum(a.values) || (a.name < b.name ? -1 : 1));
  // One more takes no more room than a word for it.
  const shown = ranked.length === MOST + 1 ? ranked.length : MOST;
  const [named, others] = [ranked.slice(0, shown), ranked.slice(shown)];
  const series: Part[] = named.map(({ name, values, unpriced }) => ({
    name,
    label: by === "project" ? folderName(name) || "no folder" : name || "unknown",
    color: colorOf(name),
    values,
    unpriced,
  }));
  if (others.length > 0) {
    const label = `${others.length} others`;
    series.push({
      name: label,
      label,
      color: OTHERS,
      values: all.map((_, index) => sum(others.map(({ values }) => values[index] ?? 0))),
      unpriced: sum(others.map(({ unpriced }) => unpriced)),
    });
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
