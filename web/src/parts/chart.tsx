// Stacked bars over time, with what the pointer is on told beside it.

import { useRef } from "preact/hooks";
import uPlot from "uplot";
import { resolved } from "../colors";
import { axis, HEIGHT, lines, usePlot } from "./plot";
import { Pointed, usePointed } from "./pointed";

export interface Series {
  name: string;
  label: string;
  color: string;
  /** One for each bucket. */
  values: number[];
  /** Calls of each bucket that no price is known for: their cost is in no bar. */
  unpriced: number[];
}

interface Props {
  /** What is shown, for those who do not see it. */
  title: string;
  /** What each bar stands for, in short. */
  labels: string[];
  /** The same in full. */
  names: string[];
  /** From the bottom up. */
  series: Series[];
  format: (value: number, unpriced: number) => string;
  axis: (value: number) => string;
  /** What a click on a bar does. */
  onPick: (bucket: number) => void;
}

export function StackedBars(props: Props) {
  const holder = useRef<HTMLDivElement>(null);
  const newest = useRef(props);
  newest.current = props;
  const { at, onCursor } = usePointed(holder);
  const { labels, names, series } = props;
  usePlot(
    holder,
    JSON.stringify([labels, series.map(({ name, color }) => [name, color])]),
    stacked(series, labels.length),
    () => options(newest, onCursor, () => at.peek()?.index ?? null),
  );
  return (
    <div class="chart">
      <div role="img" aria-label={props.title} ref={holder} style={{ minHeight: `${HEIGHT}px` }} />
      <Pointed at={at}>{(bucket) => names[bucket] && <Bar {...props} bucket={bucket} />}</Pointed>
    </div>
  );
}

/** The figures of one bar. */
function Bar({ names, series, format, bucket }: Props & { bucket: number }) {
  const parts = series
    .map(({ values, unpriced, ...part }) => ({
      ...part,
      value: values[bucket] ?? 0,
      unpriced: unpriced[bucket] ?? 0,
    }))
    .filter(({ value, unpriced }) => value > 0 || unpriced > 0)
    .sort((a, b) => b.value - a.value);
  const total = parts.reduce((sum, { value }) => sum + value, 0);
  const unpriced = parts.reduce((sum, part) => sum + part.unpriced, 0);
  return (
    <>
      <strong>{names[bucket]}</strong>
      <strong class="number">{format(total, unpriced)}</strong>
      {parts.map(({ name, label, color, value, unpriced }) => [
        <span key={`${name} name`} class="name">
          <i class="dot" style={{ background: color }} />
          <bdi>{label}</bdi>
        </span>,
        <span key={`${name} value`} class="number">
          {format(value, unpriced)}
        </span>,
      ])}
    </>
  );
}

/** The tops of all parts, the highest first: each is drawn over the one before. */
function stacked(series: Series[], buckets: number): uPlot.AlignedData {
  const sums = new Array<number>(buckets).fill(0);
  const tops = series.map(({ values }) =>
    values.map((value, bucket) => {
      const top = (sums[bucket] ?? 0) + value;
      sums[bucket] = top;
      return top;
    }),
  );
  return [Array.from({ length: buckets }, (_, bucket) => bucket), ...tops.reverse()];
}

function options(
  props: { current: Props },
  onCursor: (plot: uPlot) => void,
  pointed: () => number | null,
): Omit<uPlot.Options, "width" | "height"> {
  const { labels, series } = props.current;
  const bars = uPlot.paths.bars?.({ size: [0.78, 48], radius: 0.12 });
  return {
    padding: [12, 8, 0, 0],
    legend: { show: false },
    cursor: { x: false, y: false, points: { show: false }, drag: { x: false, y: false } },
    scales: {
      x: { time: false, range: () => [-0.6, Math.max(labels.length - 0.4, 0.6)] },
      y: { range: (_, __, max) => [0, max > 0 ? max * 1.06 : 1] },
    },
    axes: [
      {
        ...axis(),
        size: 32,
        grid: { show: false },
        space: 64,
        incrs: [1, 2, 5, 7, 10, 14, 20, 30, 60, 120],
        values: (_, ticks) => ticks.map((tick) => labels[tick] ?? ""),
      },
      {
        ...axis(),
        size: 76,
        grid: lines(),
        values: (_, ticks) => ticks.map((tick) => props.current.axis(tick)),
      },
    ],
    series: [
      {},
      ...[...series].reverse().map(({ label, color }) => ({
        label,
        fill: resolved(color),
        width: 0,
        points: { show: false },
        ...(bars ? { paths: bars } : {}),
      })),
    ],
    hooks: {
      setCursor: [onCursor],
      ready: [
        (plot) => {
          // A finger that has pointed at no bar yet wants to see its figures.
          let before: number | null | undefined;
          plot.over.addEventListener("pointerdown", ({ pointerType }) => {
            before = pointerType === "touch" ? pointed() : undefined;
          });
          plot.over.addEventListener("click", () => {
            const { idx } = plot.cursor;
            if (typeof idx === "number" && (before === undefined || before === idx)) {
              props.current.onPick(idx);
            }
          });
        },
      ],
    },
  };
}
