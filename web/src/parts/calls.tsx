// What all tables of single calls show alike.

import { money } from "../format";
import type { Call } from "../types";

/** The cost of a call, unless no price is known. */
export function CallCost({ of }: { of: Call }) {
  if (of.cost_nanousd === null) {
    return (
      <span class="unpriced" title="No price is known for this model">
        unpriced
      </span>
    );
  }
  return <>{money(of.cost_nanousd)}</>;
}
