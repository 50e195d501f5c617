// What all charts have in common: a plot that lives as long as the element it stands in.

import type { RefObject } from "preact";
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { resolved } from "../colors";

/** Pixels. */
export const HEIGHT = 240;

/**
 * Draws `data` into an element. The plot is made anew when `shape` changes, or dark turns to light;
 * figures that change are only drawn again.
 */
export function usePlot(
  holder: RefObject<HTMLDivElement | null>,
  shape: string,
  data: uPlot.AlignedData,
  options: () => Omit<uPlot.Options, "width" | "height">,
): void {
  const plot = useRef<uPlot>(null);
  const newest = useRef({ data, options });
  newest.current = { data, options };

  useEffect(() => {
    const element = holder.current;
    if (!element) {
      return;
    }
    const make = () => {
      const { data, options } = newest.current;
      plot.current?.destroy();
      const size = { width: element.clientWidth, height: HEIGHT };
      plot.current = new uPlot({ ...size, ...options() }, data, element);
    };
    make();
    const resize = new ResizeObserver(() => {
      plot.current?.setSize({ width: element.clientWidth, height: HEIGHT });
    });
    resize.observe(element);
    const theme = matchMedia("(prefers-color-scheme: dark)");
    theme.addEventListener("change", make);
    return () => {
      resize.disconnect();
      theme.removeEventListener("change", make);
      plot.current?.destroy();
      plot.current = null;
    };
  }, [shape]);

  const figures = JSON.stringify(data);
  useEffect(() => {
    plot.current?.setData(newest.current.data);
  }, [figures]);
}

export function axis() {
  return {
    stroke: resolved("var(--muted)"),
    font: "12px system-ui, sans-serif",
    ticks: { show: false },
  };
}

export function lines() {
  return { stroke: resolved("var(--line)"), width: 1 };
}
