// The rows of a long list that can be seen, between two gaps that stand for the rest.

import { useSignal } from "@preact/signals";
import type { RefObject } from "preact";
import { useEffect } from "preact/hooks";

/** Height of a row, as in the style sheet. */
export const ROW = 40;
/** Rows beyond the edges of the window: none of them is missing while one scrolls. */
const SPARE = 12;

export interface Visible {
  first: number;
  /** The one after the last. */
  end: number;
}

/** Which of `count` rows of a table body are to be drawn; the page itself is what scrolls. */
export function useVisible(body: RefObject<HTMLElement | null>, count: number): Visible {
  const visible = useSignal<Visible>({ first: 0, end: 60 });
  useEffect(() => {
    const look = () => {
      const top = body.current?.getBoundingClientRect().top ?? 0;
      const first = Math.max(Math.floor(-top / ROW) - SPARE, 0);
      const end = Math.ceil((innerHeight - top) / ROW) + SPARE;
      // In steps, so that not every pixel of scrolling draws anew.
      const next = { first: first - (first % 4), end: Math.max(end + (4 - (end % 4)), 4) };
      if (next.first !== visible.peek().first || next.end !== visible.peek().end) {
        visible.value = next;
      }
    };
    look();
    addEventListener("scroll", look, { passive: true });
    addEventListener("resize", look);
    // What stands above the list may grow, too.
    const above = new ResizeObserver(look);
    above.observe(document.body);
    return () => {
      above.disconnect();
      removeEventListener("scroll", look);
      removeEventListener("resize", look);
    };
  }, [count]);
  const { first, end } = visible.value;
  return { first: Math.min(first, Math.max(count - 1, 0)), end: Math.min(end, count) };
}

/** A gap as high as the rows it stands for. */
export function Gap({ rows }: { rows: number }) {
  if (rows <= 0) {
    return null;
  }
  return (
    <tr class="gap" aria-hidden="true">
      <td style={{ height: `${rows * ROW}px` }} />
    </tr>
  );
}
