// Days and ranges of days, as text like 2026-09-14: no time zone can shift them.

const DAY_MS = 86_400_000;

export interface Range {
  since: string;
  until: string;
}

/** Ranges with a name, as they stand in the address. */
export const RANGES = {
  today: "Today",
  "7d": "7 days",
  "30d": "30 days",
  month: "This month",
  "90d": "90 days",
  year: "12 months",
  all: "All days",
} as const;

export type RangeName = keyof typeof RANGES;

export function isRangeName(name: string): name is RangeName {
  return Object.hasOwn(RANGES, name);
}

export function isDay(text: string): boolean {
  return /^\d{4}-\d{2}-\d{2}$/.test(text) && addDays(text, 0) === text;
}

export function addDays(day: string, n: number): string {
  const ms = Date.parse(`${day}T00:00:00Z`) + n * DAY_MS;
  const text = Number.isNaN(ms) ? "" : new Date(ms).toISOString();
  // A year of more than four digits begins with a sign.
  return text.slice(0, /^\d/.test(text) ? 10 : 0);
}

/** Days from the first to the last, both included. */
export function daysIn({ since, until }: Range): number {
  return Math.round((Date.parse(until) - Date.parse(since)) / DAY_MS) + 1;
}

/** What a name stands for on a day; all has no first day. */
export function resolve(name: RangeName, today: string): Partial<Range> {
  switch (name) {
    case "today":
      return { since: today, until: today };
    case "7d":
      return { since: addDays(today, -6), until: today };
    case "30d":
      return { since: addDays(today, -29), until: today };
    case "90d":
      return { since: addDays(today, -89), until: today };
    case "month":
      return { since: `${today.slice(0, 8)}01`, until: today };
    case "year":
      return { since: addDays(today, -364), until: today };
    case "all":
      return {};
  }
}

/** The Monday of a day's week. */
export function monday(day: string): string {
  return addDays(day, -((weekday(day) + 6) % 7));
}

/** 0 is Sunday. */
export function weekday(day: string): number {
  return new Date(`${day}T00:00:00Z`).getUTCDay();
}

export type Bucket = "day" | "week" | "month";

/** What a bar of a chart stands for, so that there are not too many. */
export function bucketOf(range: Range): Bucket {
  const days = daysIn(range);
  return days <= 92 ? "day" : days <= 550 ? "week" : "month";
}

export function bucketStart(bucket: Bucket, day: string): string {
  return bucket === "day" ? day : bucket === "week" ? monday(day) : day.slice(0, 7);
}

/** All buckets of a range, those without usage too. */
export function buckets(bucket: Bucket, { since, until }: Range): string[] {
  const all: string[] = [];
  // Beyond the last day that there is stands none.
  for (let day = since; day !== "" && day <= until; ) {
    const start = bucketStart(bucket, day);
    all.push(start);
    day = addDays(bucketRange(bucket, start).until, 1);
  }
  return all;
}

/** The days that two ranges have in common. */
export function common(a: Range, b: Range): Range {
  return {
    since: a.since > b.since ? a.since : b.since,
    until: a.until < b.until ? a.until : b.until,
  };
}

/** The days of a bucket. */
export function bucketRange(bucket: Bucket, start: string): Range {
  switch (bucket) {
    case "day":
      return { since: start, until: start };
    case "week":
      return { since: start, until: addDays(start, 6) };
    case "month": {
      const next = addDays(`${start}-28`, 4).slice(0, 7);
      return { since: `${start}-01`, until: addDays(`${next}-01`, -1) };
    }
  }
}
