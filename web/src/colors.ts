// One colour for each name, the same in all charts, and never two of one colour in the same chart.

/** Variables of the style sheet, where they differ between dark and light. */
const COLORS = 8;

const places = new Map<string, Map<string, number>>();

/**
 * Colours of names that are shown together, at most as many as there are colours. Names of a kind keep
 * theirs, given in the order in which they turn up, unless another one beside them has it.
 */
export function colorsOf(kind: string, names: string[]): string[] {
  const known = places.get(kind) ?? new Map<string, number>();
  places.set(kind, known);
  const taken = new Set<number>();
  return names.map((name) => {
    const usual = known.get(name) ?? known.size % COLORS;
    const free = Array.from({ length: COLORS }, (_, n) => (usual + n) % COLORS);
    const place = free.find((n) => !taken.has(n)) ?? usual;
    taken.add(place);
    if (!known.has(name)) {
      known.set(name, place);
    }
    return `var(--series-${place + 1})`;
  });
}

export const OTHERS = "var(--series-others)";

/** What a variable of the style sheet stands for now: a canvas knows no variables. */
export function resolved(color: string): string {
  const name = /^var\((.+)\)$/.exec(color)?.[1];
  return name ? getComputedStyle(document.documentElement).getPropertyValue(name).trim() : color;
}
