// Today, in the zone that the service counts days in, and the days that the page looks at.

import { computed, signal } from "@preact/signals";
import { type Range, resolve } from "./days";
import { place } from "./place";

/** Unknown until the service has been heard of. */
export const today = signal<string | null>(null);
export const zone = signal("UTC");

/** The days looked at; without a first one it is all there are. */
export const days = computed((): Partial<Range> => {
  const { range } = place.value;
  if (typeof range !== "string") {
    return range;
  }
  return today.value === null ? {} : resolve(range, today.value);
});

const formats = new Map<string, Intl.DateTimeFormat>();

/** The day of a moment in a zone; null where the browser does not know the zone. */
export function dayIn(zone: string, ms: number): string | null {
  let format = formats.get(zone);
  try {
    const parts = { year: "numeric", month: "2-digit", day: "2-digit" } as const;
    format ??= new Intl.DateTimeFormat("en-GB", { ...parts, timeZone: zone });
  } catch {
    return null;
  }
  formats.set(zone, format);
  const parts = format.formatToParts(ms);
  const part = (type: string) => parts.find((part) => part.type === type)?.value;
  return `${part("year")}-${part("month")}-${part("day")}`;
}
