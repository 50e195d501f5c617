// What a mouse or a finger points at in a chart, told beside it.

import { type Signal, useSignal } from "@preact/signals";
import type { ComponentChildren, RefObject } from "preact";
import type uPlot from "uplot";

interface Place {
  /** Of the bar, or whatever else stands at one point of the axis. */
  index: number;
  left: number;
  isRight: boolean;
}

export type PlaceOf = Signal<Place | null>;

/** A place for a plot to tell its cursor to. */
export function usePointed(holder: RefObject<HTMLElement | null>) {
  const at: PlaceOf = useSignal<Place | null>(null);
  const onCursor = ({ cursor, bbox }: uPlot) => {
    const { idx, left } = cursor;
    const isInside = typeof idx === "number" && left !== undefined && left >= 0;
    const x = isInside ? left + bbox.left / devicePixelRatio : 0;
    const isRight = x > (holder.current?.clientWidth ?? 0) / 2;
    at.value = isInside ? { index: idx, left: x, isRight } : null;
  };
  return { at, onCursor };
}

/** A part of its own: the chart itself need not be made anew wherever the pointer goes. */
export function Pointed(props: { at: PlaceOf; children: (index: number) => ComponentChildren }) {
  const { at, children } = props;
  const told = at.value && children(at.value.index);
  if (!at.value || !told) {
    return null;
  }
  const { left, isRight } = at.value;
  const place = isRight ? { right: `calc(100% - ${left - 12}px)` } : { left: `${left + 12}px` };
  return (
    <div class="pointed" style={place}>
      {told}
    </div>
  );
}
