// One colour for each name, the same in all charts and tables.

/** Variables of the style sheet, where they differ between dark and light. */
const COLORS = 8;

const places = new Map<string, number>();

/** The colour of a name: names get theirs in the order in which they turn up. */
export function colorOf(name: string): string {
  let place = places.get(name);
  if (place === undefined) {
    place = places.size % COLORS;
    places.set(name, place);
  }
  return `var(--series-${place + 1})`;
}

export const OTHERS = "var(--series-others)";

/** What a variable of the style sheet stands for now: a canvas knows no variables. */
export function resolved(color: string): string {
  const name = /^var\((.+)\)$/.exec(color)?.[1];
  return name ? getComputedStyle(document.documentElement).getPropertyValue(name).trim() : color;
}
