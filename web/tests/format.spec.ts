// How figures, days and addresses are written, without a browser.

import "./support/window";

import { expect, test } from "@playwright/test";
import * as days from "../src/days";
import * as format from "../src/format";
import { levels } from "../src/parts/heatmap";
import { seriesOf } from "../src/parts/overtime";
import { address, parse } from "../src/place";
import type { ReportRow } from "../src/types";
import { change, usual } from "../src/usual";
import { observed } from "../src/views/health";
import { cacheShare, price } from "../src/views/models";

function check<Input>(of: (input: Input) => unknown, expected: [Input, unknown][]): void {
  expect(expected.map(([input]) => [input, of(input)])).toEqual(expected);
}

test("money", () => {
  check(format.money, [
    [0, "$0.00"],
    [1, "<$0.01"],
    [4_999_999, "<$0.01"],
    [5_000_000, "$0.01"],
    [14_999_999, "$0.01"],
    [999_994_999_999, "$999.99"],
    [999_995_000_000, "$1,000.00"],
    [1_234_567_890_000_000, "$1,234,567.89"],
  ]);
});

test("counts", () => {
  check(
    (n: number) => format.counted(n, "call"),
    [
      [0, "0 calls"],
      [1, "1 call"],
      [2, "2 calls"],
      [1_234_567, "1,234,567 calls"],
    ],
  );
});

test("tokens have three digits and a unit", () => {
  check(format.tokens, [
    [0, "0"],
    [999, "999"],
    [1_000, "1.00 k"],
    [9_994, "9.99 k"],
    [9_995, "10.0 k"],
    [99_949, "99.9 k"],
    [99_950, "100 k"],
    [999_499, "999 k"],
    [999_500, "1.00 M"],
    [12_345_678, "12.3 M"],
    [999_499_999, "999 M"],
    [999_500_000, "1.00 B"],
    [999_500_000_000, "1.00 T"],
    [1_234_000_000_000_000, "1234 T"],
  ]);
});

test("shares", () => {
  check(format.percent, [
    [0, "0 %"],
    [0.000001, "<0.1 %"],
    [0.0005, "0.1 %"],
    [0.0994, "9.9 %"],
    [0.0995, "10 %"],
    [0.624, "62 %"],
    [0.99, "99 %"],
    [0.996, "99.6 %"],
    [0.9999, "99.9 %"],
    [1, "100 %"],
    [12.345, "1,235 %"],
  ]);
});

test("bytes", () => {
  check(format.bytes, [
    [0, "0 B"],
    [999, "999 B"],
    [1_000, "1.0 kB"],
    [99_940, "99.9 kB"],
    [99_960, "100 kB"],
    [999_499, "999 kB"],
    [999_500, "1.0 MB"],
    [1_234_567_890, "1.2 GB"],
    [5e15, "5,000 TB"],
  ]);
});

test("durations", () => {
  check(format.minutes, [
    [0, "0 min"],
    [59.9, "59 min"],
    [60, "1 h 00 min"],
    [125, "2 h 05 min"],
  ]);
  check(format.ago, [
    [-5_000, "0 s ago"],
    [59_999, "59 s ago"],
    [60_000, "1 min ago"],
    [3_599_999, "59 min ago"],
    [3_600_000, "1 h ago"],
    [86_400_000, "1 d ago"],
    [86_400_000 * 1_500, "1,500 d ago"],
  ]);
});

test("what health has observed", () => {
  const of = ([observedValue, observedUnit]: [number | boolean | null, string]) =>
    observed({ observedValue, observedUnit, status: "pass" });
  check(of, [
    [[null, "ms"], "-"],
    [[true, ""], "yes"],
    [[false, ""], "no"],
    [[2_000_000, "bytes"], "2.0 MB"],
    [[9_999, "ms"], "9,999 ms"],
    [[10_000, "ms"], "10 s"],
    [[119, "s"], "119 s"],
    [[120, "s"], "2 min"],
    [[90_061, "s"], "1 d 1 h 01 min"],
    [[83.7, "%"], "83.7 %"],
    [[1, "sources"], "1 source"],
    [[1_200, "events"], "1,200 events"],
  ]);
});

test("days have names that no zone shifts", () => {
  check(format.day, [
    ["2026-09-14", "Mon 14 Sep 2026"],
    ["2024-02-29", "Thu 29 Feb 2024"],
    ["2026-01-01", "Thu 1 Jan 2026"],
    ["nothing", ""],
  ]);
  expect(format.shortDay("2026-12-31")).toBe("31 Dec");
  expect(format.month("2026-06")).toBe("Jun 2026");
});

test("times are those of the service's zone", () => {
  const at = "2026-10-25T00:59:30Z";
  // An hour that comes twice where clocks are turned back.
  expect(format.clock(at, "Europe/Berlin")).toBe("02:59:30");
  expect(format.clock("2026-10-25T01:59:30Z", "Europe/Berlin")).toBe("02:59:30");
  expect(format.clock("2026-09-14T22:00:00Z", "Europe/Berlin")).toBe("00:00:00");
  expect(format.clock(at, "Asia/Kathmandu")).toBe("06:44:30");
  expect(format.clock(at, "No/Where")).toMatch(/^\d\d:59:30$/);
});

test("moments of another year are told with it", () => {
  const { now } = Date;
  Date.now = () => Date.parse("2026-07-01T12:00:00Z");
  try {
    expect(format.moment("2026-06-14T22:30:00Z", "Europe/Berlin")).toBe("15 Jun, 00:30");
    expect(format.moment("2021-06-14T12:03:00Z", "UTC")).toBe("14 Jun 2021, 12:03");
    // The year is another one there.
    const eve = "2025-12-31T23:30:00Z";
    expect(format.moment(eve, "Asia/Tokyo")).toBe("1 Jan, 08:30");
    expect(format.moment(eve, "UTC")).toBe("31 Dec 2025, 23:30");
  } finally {
    Date.now = now;
  }
});

test("a folder by its last part", () => {
  check(format.folderName, [
    ["/home/ada/engine", "engine"],
    ["/home/ada/engine/", "engine"],
    ["C:\\work\\engine", "engine"],
    ["engine", "engine"],
    ["/", "/"],
    ["", ""],
  ]);
});

test("days are counted on the calendar", () => {
  expect(days.addDays("2026-12-31", 1)).toBe("2027-01-01");
  expect(days.addDays("2024-03-01", -1)).toBe("2024-02-29");
  expect(days.daysIn({ since: "2026-03-28", until: "2026-03-30" })).toBe(3);
  check(days.isDay, [
    ["2026-02-28", true],
    ["2026-02-29", false],
    ["2026-2-1", false],
    ["", false],
  ]);
  check(days.weekday, [
    ["2026-03-29", 0],
    ["2026-09-14", 1],
  ]);
});

test("ranges with a name", () => {
  check(
    (name: days.RangeName) => days.resolve(name, "2026-03-01"),
    [
      ["today", { since: "2026-03-01", until: "2026-03-01" }],
      ["7d", { since: "2026-02-23", until: "2026-03-01" }],
      ["30d", { since: "2026-01-31", until: "2026-03-01" }],
      ["month", { since: "2026-03-01", until: "2026-03-01" }],
      ["90d", { since: "2025-12-02", until: "2026-03-01" }],
      ["year", { since: "2025-03-02", until: "2026-03-01" }],
      ["all", {}],
    ],
  );
});

test("weeks begin on Monday, over New Year too", () => {
  check(days.monday, [
    ["2026-12-31", "2026-12-28"],
    ["2027-01-01", "2026-12-28"],
    ["2027-01-03", "2026-12-28"],
    ["2027-01-04", "2027-01-04"],
    // Clocks are turned on this Sunday.
    ["2026-03-29", "2026-03-23"],
  ]);
  const range = { since: "2026-12-30", until: "2027-01-05" };
  expect(days.buckets("week", range)).toEqual(["2026-12-28", "2027-01-04"]);
  expect(days.buckets("month", range)).toEqual(["2026-12", "2027-01"]);
  expect(days.buckets("day", range)).toHaveLength(7);
  expect(days.bucketRange("week", "2026-12-28")).toEqual({
    since: "2026-12-28",
    until: "2027-01-03",
  });
  expect(days.bucketRange("month", "2028-02")).toEqual({
    since: "2028-02-01",
    until: "2028-02-29",
  });
  expect(days.bucketRange("month", "2026-12")).toEqual({
    since: "2026-12-01",
    until: "2026-12-31",
  });
});

test("bars are days, weeks or months", () => {
  const bucket = (n: number) =>
    days.bucketOf({ since: "2024-01-01", until: days.addDays("2024-01-01", n - 1) });
  check(bucket, [
    [1, "day"],
    [92, "day"],
    [93, "week"],
    [550, "week"],
    [551, "month"],
  ]);
});

test("an address says all, and comes back as it was", () => {
  const usual = parse("");
  expect(address(usual)).toBe("/");
  for (const range of [{ since: "2026-01-01", until: "2026-01-31" }, "7d" as const]) {
    const place = {
      ...usual,
      view: "sessions" as const,
      range,
      filters: {
        provider: ["codex", "claude-code"],
        project: ["/home/ada/a&b=c?d#e+f%20g;h", "/home/ada/مشروع", ""],
        model: ["<b>x</b>"],
      },
      sort: "-cost",
      session: "codex/a/b c",
      by: "model" as const,
      show: "tokens" as const,
    };
    expect(parse(address(place).slice(1))).toEqual(place);
  }
});

test("an address that makes no sense is as good as none", () => {
  const usual = parse("");
  const strange = "?view=constructor&range=toString&since=2026-02-30&until=x&by=moon&show=sun";
  expect(parse(strange)).toEqual(usual);
  expect(parse("?since=2026-02-02&until=2026-02-01")).toEqual(usual);
});

function row(of: Partial<ReportRow>): ReportRow {
  const tokens = {
    input_tokens: 0,
    output_tokens: 0,
    cache_read_tokens: 0,
    cache_create_tokens: 0,
  };
  const sums = { message_count: 1, total_tokens: 0, cost_nanousd: 0, unpriced_count: 0 };
  return { ...tokens, ...sums, ...of };
}

test("parts are stacked from the smallest up, upon all others", () => {
  const rows = Array.from({ length: 10 }, (_, n) =>
    row({ day: "2026-01-02", model: `model-${n}`, cost_nanousd: n + 1, unpriced_count: n }),
  );
  rows.push(row({ day: "2026-01-01", model: "model-0", cost_nanousd: 100 }));
  const all = ["2026-01-01", "2026-01-02"];
  const series = seriesOf(rows, "model", "cost", "day", all);
  expect(series.map(({ label, values, unpriced }) => [label, values, unpriced])).toEqual([
    ["3 others", [0, 2 + 3 + 4], [0, 1 + 2 + 3]],
    ["model-4", [0, 5], [0, 4]],
    ["model-5", [0, 6], [0, 5]],
    ["model-6", [0, 7], [0, 6]],
    ["model-7", [0, 8], [0, 7]],
    ["model-8", [0, 9], [0, 8]],
    ["model-9", [0, 10], [0, 9]],
    ["model-0", [100, 1], [0, 0]],
  ]);
  const colors = new Set(series.map(({ color }) => color));
  expect(colors.size).toBe(series.length);
  // A single other one is named instead.
  const eight = seriesOf(rows.slice(0, 8), "model", "cost", "day", all);
  expect(eight.map(({ label }) => label)).toContain("model-0");
  expect(eight).toHaveLength(8);
});

test("parts of weeks, in tokens, and those without a name", () => {
  const rows = [
    row({ week: "2026-12-28", project: "/home/ada/engine", total_tokens: 5 }),
    row({ week: "2027-01-04", project: "", total_tokens: 3 }),
    row({ week: "2027-01-11", project: "", total_tokens: 9 }),
  ];
  const series = seriesOf(rows, "project", "tokens", "week", ["2026-12-28", "2027-01-04"]);
  expect(series.map(({ label, values }) => [label, values])).toEqual([
    ["no folder", [0, 3]],
    ["engine", [5, 0]],
  ]);
});

test("levels of the heat map are quarters", () => {
  const level = levels([1, 2, 3, 4, 5, 6, 7, 8]);
  check(level, [
    [0, 0],
    [1, 1],
    [2, 1],
    [3, 2],
    [5, 3],
    [7, 4],
    [100, 4],
  ]);
  expect(levels([])(0)).toBe(0);
  expect(levels([5])(5)).toBe(4);
});

test("what is usual", () => {
  const day = (day: string, cost_nanousd: number) => row({ day, cost_nanousd });
  const five = [9, 1, 5, 3, 7].map((cost, n) => day(`2026-01-0${n + 1}`, cost));
  expect(usual(five, "2026-01-10")).toEqual({ cost: 5, days: 5 });
  expect(usual([...five, day("2026-01-06", 100)], "2026-01-10")).toEqual({ cost: 6, days: 6 });
  // Neither that day itself, nor what is longer ago than 28 days.
  expect(usual([...five, day("2026-01-29", 1000)], "2026-01-29")).toEqual({ cost: 5, days: 5 });
  expect(usual(five, "2026-01-30")).toBe(null);
  expect(usual(five.slice(1), "2026-01-10")).toBe(null);
  expect(
    usual(
      five.map((row) => ({ ...row, cost_nanousd: 0 })),
      "2026-01-10",
    ),
  ).toBe(null);
});

test("by how much some days differ from those before", () => {
  const rows = [
    row({ day: "2026-01-01", cost_nanousd: 1_000 }),
    row({ day: "2026-01-02", cost_nanousd: 100 }),
    row({ day: "2026-01-08", cost_nanousd: 100 }),
    row({ day: "2026-01-09", cost_nanousd: 20 }),
    row({ day: "2026-01-15", cost_nanousd: 130 }),
    row({ day: "2026-01-16", cost_nanousd: 1_000 }),
  ];
  // Today is not over: it is no part of either.
  expect(change(rows, "2026-01-16", 7)).toBeCloseTo(-0.25);
  expect(change(rows, "2026-01-08", 7)).toBe(null);
});

test("cache share and price of a model", () => {
  const tokens = { input_tokens: 10, cache_create_tokens: 30, cache_read_tokens: 60 };
  const of = row({ ...tokens, output_tokens: 900, total_tokens: 1_000, cost_nanousd: 5_000 });
  expect(cacheShare(of)).toBe(0.6);
  expect(price(of)).toBe(5_000_000);
  expect(price({ ...of, unpriced_count: 1 })).toBe(null);
  expect(cacheShare(row({ output_tokens: 5 }))).toBe(null);
  expect(price(row({}))).toBe(null);
});
