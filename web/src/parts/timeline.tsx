// What a session has cost, call by call.

import { useRef } from "preact/hooks";
import uPlot from "uplot";
import { resolved } from "../colors";
import { clock, moment, money, tokens } from "../format";
import { today, zone } from "../today";
import type { Call } from "../types";
import { Name } from "./basics";
import { CallCost } from "./calls";
import { axis, HEIGHT, lines, usePlot } from "./plot";
import { Pointed, usePointed } from "./pointed";

export function Timeline({ calls }: { calls: Call[] }) {
  const holder = useRef<HTMLDivElement>(null);
  // The newest comes first; a chart goes the other way.
  const ordered = calls.toReversed();
  let sum = 0;
  const sums = ordered.map(({ cost_nanousd }) => {
    sum += cost_nanousd ?? 0;
    return sum;
  });
  const data: uPlot.AlignedData = [
    ordered.map(({ ts_ms }) => ts_ms / 1000),
    sums,
    ordered.map(({ cost_nanousd }) => cost_nanousd ?? 0),
  ];
  const { at, onCursor } = usePointed(holder);
  usePlot(holder, zone.value, data, () => options(zone.value, onCursor));
  return (
    <>
      <div class="chart">
        <div
          role="img"
          aria-label={`Cost of ${calls.length} calls over time: ${money(sum)} in all`}
          ref={holder}
          style={{ minHeight: `${HEIGHT}px` }}
        />
        <Pointed at={at}>
          {(index) => {
            const call = ordered[index];
            return call && <Told call={call} soFar={sums[index] ?? 0} />;
          }}
        </Pointed>
      </div>
      <ul class="legend">
        <li>
          <i class="dot" style={{ background: "var(--series-1)" }} />
          cost so far
        </li>
        <li>
          <i class="dot" style={{ background: "var(--series-2)" }} />
          of each call, on the right
        </li>
      </ul>
    </>
  );
}

/** The figures of one call; the table of all calls has them, too. */
function Told({ call, soFar }: { call: Call; soFar: number }) {
  const all =
    call.input_tokens + call.output_tokens + call.cache_read_tokens + call.cache_create_tokens;
  return (
    <>
      <strong>
        {call.day === today.value ? clock(call.ts, zone.value) : moment(call.ts, zone.value)}
      </strong>
      <strong class="number">
        <CallCost of={call} />
      </strong>
      <span>cost so far</span>
      <span class="number">{money(soFar)}</span>
      <Name>{call.model}</Name>
      <span class="number">{tokens(all)} tokens</span>
    </>
  );
}

function options(
  zone: string,
  onCursor: (plot: uPlot) => void,
): Omit<uPlot.Options, "width" | "height"> {
  const fromZero: uPlot.Range.Function = (_, __, max) => [0, max > 0 ? max * 1.08 : 1];
  const bars = uPlot.paths.bars?.({ size: [0.6, 10], align: 0 });
  const steps = uPlot.paths.stepped?.({ align: 1 });
  const costs = (_: uPlot, ticks: number[]) => ticks.map(money);
  return {
    padding: [12, 8, 0, 0],
    legend: { show: false },
    cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false } },
    tzDate: (ts) => dateIn(ts, zone),
    scales: { x: { range: wider }, sum: { range: fromZero }, call: { range: fromZero } },
    axes: [
      {
        ...axis(),
        size: 32,
        grid: { show: false },
        values: (plot, ticks) => times(plot, ticks, zone),
      },
      { ...axis(), scale: "sum", size: 76, grid: lines(), values: costs },
      { ...axis(), scale: "call", side: 1, size: 70, grid: { show: false }, values: costs },
    ],
    series: [
      {},
      {
        scale: "sum",
        stroke: resolved("var(--series-1)"),
        width: 2,
        points: { show: false },
        ...(steps ? { paths: steps } : {}),
      },
      {
        scale: "call",
        fill: resolved("var(--series-2)"),
        width: 0,
        points: { show: false },
        ...(bars ? { paths: bars } : {}),
      },
    ],
    hooks: { setCursor: [onCursor] },
  };
}

/** With room for the bars of the first and the last call. */
function wider(_: uPlot, min: number, max: number): [number, number] {
  const room = Math.max((max - min) * 0.02, 30);
  return [min - room, max + room];
}

/** Times of the day, with the day where the session lasts longer than one. */
function times({ scales }: uPlot, ticks: number[], zone: string): string[] {
  const { min, max } = scales.x ?? {};
  const isLong = (max ?? 0) - (min ?? 0) > 20 * 3600;
  return ticks.map((tick) => {
    const ms = tick * 1000;
    return isLong ? moment(ms, zone) : clock(ms, zone).slice(0, 5);
  });
}

/** A moment as a date whose local parts are those of a zone; unknown zones are the browser's own. */
function dateIn(ts: number, zone: string): Date {
  try {
    return uPlot.tzDate(new Date(ts * 1000), zone);
  } catch {
    return new Date(ts * 1000);
  }
}
