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
