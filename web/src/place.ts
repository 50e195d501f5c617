// Where the page is: view, days, filters and sorting, all of it in the address, so that it can be
// bookmarked and the back button works.

import { computed, signal } from "@preact/signals";
import { isDay, isRangeName, type RangeName } from "./days";

export const VIEWS = {
  overview: "Overview",
  projects: "Projects",
  sessions: "Sessions",
  models: "Models",
  providers: "Agents",
  health: "Health",
} as const;

export type View = keyof typeof VIEWS;

/** What can be filtered by; the names are the API's. */
export const FILTERS = { provider: "Agent", project: "Project", model: "Model" } as const;

export type FilterName = keyof typeof FILTERS;
export type Filters = Record<FilterName, string[]>;

export type StackedBy = "provider" | "model" | "project";
export type Measure = "cost" | "tokens";

export interface Place {
  view: View;
  range: RangeName | { since: string; until: string };
  filters: Filters;
  /** Column of the view's table, `-` before it for the largest first; empty: the view's own order. */
  sort: string;
  /** The session that is looked at, `provider/id`. */
  session: string;
  by: StackedBy;
  show: Measure;
}

const DEFAULTS = { range: "30d", by: "provider", show: "cost" } as const;

export function parse(search: string): Place {
  const query = new URLSearchParams(search);
  const view = query.get("view") ?? "";
  const by = query.get("by");
  return {
    view: Object.hasOwn(VIEWS, view) ? (view as View) : "overview",
    range: parseRange(query),
    filters: {
      provider: query.getAll("provider"),
      project: query.getAll("project"),
      model: query.getAll("model"),
    },
    sort: query.get("sort") ?? "",
    session: query.get("session") ?? "",
    by: by === "model" || by === "project" ? by : DEFAULTS.by,
    show: query.get("show") === "tokens" ? "tokens" : DEFAULTS.show,
  };
}

function parseRange(query: URLSearchParams): Place["range"] {
  const since = query.get("since") ?? "";
  const until = query.get("until") ?? "";
  if (isDay(since) && isDay(until) && since <= until) {
    return { since, until };
  }
  const name = query.get("range") ?? "";
  return isRangeName(name) ? name : DEFAULTS.range;
}

/** The address of a place; what is as usual is left out. */
export function address(place: Place): string {
  const query = new URLSearchParams();
  if (place.view !== "overview") {
    query.set("view", place.view);
  }
  if (typeof place.range !== "string") {
    query.set("since", place.range.since);
    query.set("until", place.range.until);
  } else if (place.range !== DEFAULTS.range) {
    query.set("range", place.range);
  }
  for (const [name, values] of Object.entries(place.filters)) {
    for (const value of values) {
      query.append(name, value);
    }
  }
  for (const name of ["sort", "session"] as const) {
    if (place[name] !== "") {
      query.set(name, place[name]);
    }
  }
  for (const name of ["by", "show"] as const) {
    if (place[name] !== DEFAULTS[name]) {
      query.set(name, place[name]);
    }
  }
  const search = query.toString();
  return search === "" ? "/" : `/?${search}`;
}

const current = signal(parse(location.search));

export const place = computed(() => current.value);

// Where a view was scrolled to is kept with its address; the browser would scroll before it is drawn.
history.scrollRestoration = "manual";

addEventListener("popstate", (event) => {
  current.value = parse(location.search);
  const top = Number(event.state?.top ?? 0);
  requestAnimationFrame(() => requestAnimationFrame(() => scrollTo(0, top)));
});

/** What a link to a changed place leads to. Another view or session begins with its own order. */
export function linkTo(change: Partial<Place>): string {
  return address(changed(change));
}

export function go(change: Partial<Place>): void {
  const next = changed(change);
  if (address(next) === address(current.value)) {
    return;
  }
  history.replaceState({ ...history.state, top: scrollY }, "");
  history.pushState({ isWithin: true }, "", address(next));
  if (next.view !== current.value.view || next.session !== current.value.session) {
    scrollTo(0, 0);
  }
  current.value = next;
}

/** Back to where one came from within the page, or else to a place. */
export function goBack(otherwise: Partial<Place>): void {
  if (history.state?.isWithin) {
    history.back();
  } else {
    go(otherwise);
  }
}

function changed(change: Partial<Place>): Place {
  const isElsewhere = change.view !== undefined || change.session !== undefined;
  const from = current.value;
  return { ...from, ...(isElsewhere ? { sort: "", session: "" } : {}), ...change };
}

/** Lets a filter through one value only, or any if it has just that one. */
export function withFilter(name: FilterName, value: string): Filters {
  const { filters } = current.value;
  const isSet = filters[name].length === 1 && filters[name][0] === value;
  return { ...filters, [name]: isSet ? [] : [value] };
}

export const hasFilters = computed(() =>
  Object.values(current.value.filters).some((values) => values.length > 0),
);

export const NO_FILTERS: Filters = { provider: [], project: [], model: [] };
