// The figures of every view are the API's.

import type { Locator, Page } from "@playwright/test";
import { addDays, bucketOf, bucketRange, buckets, type Range, resolve } from "../src/days";
import * as format from "../src/format";
import { count, counted, money, percent, tokens } from "../src/format";
import type { Call, Health, Providers, Session, Summary } from "../src/types";
import { demo as demoWorld } from "./support/demo";
import { minuteOfDay, ZONE } from "./support/home";
import { cost, figures, grouped, Ledger } from "./support/ledger";
import { quiet } from "./support/quiet";
import type { Service } from "./support/service";
import { expect, needsCorpus, test } from "./support/test";
import { corpus } from "./support/worlds";

// Long lists are drawn in fewer steps.
test.use({ viewport: { width: 1280, height: 2400 } });

interface World {
  service: Service;
  ledger: Ledger;
  summary: Summary;
}

async function worldOf(service: Service): Promise<World> {
  const [ledger, summary] = await Promise.all([
    Ledger.of(service),
    service.api<Summary>("/api/v1/summary"),
  ]);
  return { service, ledger, summary };
}

/** Texts of the cells of each row. */
function cells(rows: Locator): Promise<string[][]> {
  return rows.evaluateAll((rows) =>
    rows.map((row) => Array.from(row.children, (cell) => cell.textContent?.trim() ?? "")),
  );
}

/** Holds rows to what is expected, whatever their order. */
async function expectRows(table: Locator, expected: string[][]): Promise<void> {
  const order = (rows: string[][]) => rows.map((row) => row.join(" | ")).sort();
  await expect.poll(async () => order(await cells(table))).toEqual(order(expected));
}

const table = (page: Page, name: string | RegExp) =>
  page.getByRole("table", { name, exact: true }).locator("tbody tr");
const section = (page: Page, name: string) => page.getByRole("region", { name, exact: true });
const model = ({ model }: Call) => model ?? "unknown";
const project = ({ project_path }: Call) => project_path;
const provider = ({ provider }: Call) => provider;
const folder = (path: string) => format.folderName(path) || "no folder";
const cached = (of: ReturnType<typeof figures>) => of.cache_read_tokens + of.cache_create_tokens;

/** The days of a range with a name; all of them begin with the first call. */
function daysOf({ ledger, summary }: World, range: "30d" | "all"): Range {
  const first = ledger.calls.map(({ day }) => day).sort()[0] ?? summary.day;
  return { since: first, until: summary.day, ...resolve(range, summary.day) };
}

async function overview(page: Page, world: World, range: "30d" | "all") {
  const { service, ledger, summary } = world;
  const { day: today } = summary;
  const calls = ledger.within(daysOf(world, range));
  await page.goto(`${service.url}/?range=${range}`);
  await quiet(page);

  await test.step("cards", async () => {
    const periods = { today: "Today", "7d": "7 days", "30d": "30 days", month: "This month" };
    for (const [name, title] of Object.entries(periods)) {
      const of = figures(ledger.within(resolve(name as "today", today)));
      const card = section(page, title);
      await expect(card.locator(".amount")).toHaveText(cost(of));
      const line = `${tokens(of.total_tokens)} tokens, ${counted(of.message_count, "call")}`;
      await expect(card.locator("p.muted").first()).toHaveText(line);
    }
    await changes(page, ledger, today);
    await budget(section(page, "This month"), world);
  });
  await test.step("chart", () => chart(page, world, range, "provider"));
  await test.step("tops", async () => {
    const tops = { Projects: project, Models: model, Agents: provider };
    for (const [title, by] of Object.entries(tops)) {
      // The running block has the place of the agents.
      if (by === provider && summary.block) continue;
      const groups = [...grouped(calls, by)]
        .map(([name, calls]) => ({ name, of: figures(calls) }))
        .sort((a, b) => b.of.cost_nanousd - a.of.cost_nanousd);
      const expected = groups
        .slice(0, 6)
        .map(({ name, of }) => [
          by === project ? folder(name) : name,
          tokens(of.total_tokens),
          cost(of),
        ]);
      await expect.poll(() => cells(table(page, `${title} by cost`))).toEqual(expected);
    }
  });
  await test.step("year", () => year(page, ledger, today));
  await test.step("latest calls", async () => {
    const latest = ledger.calls
      .slice(0, 15)
      .map((call) => [
        call.day === today ? format.clock(call.ts, ZONE) : format.moment(call.ts, ZONE),
        folder(call.project_path),
        call.provider,
        call.model ?? "-",
        tokens(call.input_tokens),
        tokens(cached(figures([call]))),
        tokens(call.output_tokens),
        cost(figures([call])),
      ]);
    await expect.poll(() => cells(table(page, "Latest calls"))).toEqual(latest);
  });
}

/** Whether it is more than usual. */
async function changes(page: Page, ledger: Ledger, today: string) {
  const spent = (since: number, until: number) => {
    const range = { since: addDays(today, since), until: addDays(today, until) };
    return figures(ledger.within(range)).cost_nanousd;
  };
  const usual = ledger.median(today);
  const line = section(page, "Today").getByText("a usual day");
  if (Number.isNaN(usual)) await expect(line).toHaveCount(0);
  else {
    const times = (spent(0, 0) / usual).toFixed(1);
    await expect(line).toHaveText(`${times}× a usual day (${money(usual)})`);
  }
  for (const days of [7, 30]) {
    const before = spent(-2 * days, -days - 1);
    const line = section(page, `${days} days`).getByText(`on the ${days} days before`);
    if (before === 0) await expect(line).toHaveCount(0);
    else {
      const change = spent(-days, -1) / before - 1;
      const text = `${change < 0 ? "−" : "+"}${percent(Math.abs(change))}`;
      await expect(line).toHaveText(`${text} on the ${days} days before, up to yesterday`);
    }
  }
}

async function budget(card: Locator, { ledger, summary }: World) {
  for (const { budget_nanousd } of summary.budgets) {
    const used = figures(ledger.within(resolve("month", summary.day))).cost_nanousd;
    const share = percent(used / budget_nanousd);
    await expect(card.getByRole("meter")).toHaveAttribute("aria-valuetext", share);
    const line = card.locator(".budget p");
    await expect(line).toContainText(`${share} of ${money(budget_nanousd)}`);
    // Where it leads to if the month goes on as it did so far, looked up each minute.
    const [year, month, day] = summary.day.split("-").map(Number) as [number, number, number];
    const length = new Date(Date.UTC(year, month, 0)).getUTCDate();
    const passed = day - 1 + minuteOfDay(new Date(), ZONE) / 1440;
    const goals = [-2, 1].map((minutes) => (used / (passed + minutes / 1440)) * length);
    const said = headingFor(await line.textContent());
    // A day or so of it says nothing of a month.
    if (passed / length < 1 / 24) expect(said).toBeNaN();
    else expectBetween(said, goals);
  }
}

/** Dollars. */
const headingFor = (text: string | null) =>
  Number(/heading for \$([\d.,]+)/.exec(text ?? "")?.[1]?.replaceAll(",", ""));

/** Holds dollars, which are rounded to cents, to two bounds in nano-USD. */
function expectBetween(said: number, bounds: number[]): void {
  expect(said).toBeGreaterThanOrEqual(Math.min(...bounds) / 1e9 - 0.005);
  expect(said).toBeLessThanOrEqual(Math.max(...bounds) / 1e9 + 0.005);
}

/** The table below the chart: each bar and each part of it, and the legend. */
async function chart(
  page: Page,
  world: World,
  range: "30d" | "all",
  by: "provider" | "project" | "model",
) {
  const days = daysOf(world, range);
  const calls = world.ledger.within(days);
  const bucket = bucketOf(days);
  const part = { provider, project, model }[by];
  const legend = await page.locator(".legend li").evaluateAll((items) =>
    items.map((item) => ({
      name: item.querySelector("bdi")?.title ?? "",
      label: item.querySelector("bdi")?.textContent ?? "",
      sum: item.querySelector("b")?.textContent ?? "",
    })),
  );
  const names = new Set(legend.map(({ name }) => name));
  // What has no colour of its own is in the last part.
  const nameOf = (call: Call) => (names.has(part(call)) ? part(call) : (legend.at(-1)?.name ?? ""));
  const groups = grouped(calls, nameOf);
  const sums = legend.map(({ name }) => cost(figures(groups.get(name) ?? [])));
  expect(legend.map(({ sum }) => sum)).toEqual(sums);
  expect(names.size).toBe(Math.min(8, new Set(calls.map(part)).size));

  const week = (start: string) => `week of ${format.day(start)}`;
  const title = { day: format.day, week, month: format.month }[bucket];
  const expected = buckets(bucket, days).map((start) => {
    const { since, until } = bucketRange(bucket, start);
    const within = calls.filter(({ day }) => day >= since && day <= until);
    const parts = grouped(within, nameOf);
    const values = legend.map(({ name }) => cost(figures(parts.get(name) ?? [])));
    return [title(start), ...values, cost(figures(within))];
  });
  const figuresBy = page.locator(".figures");
  await figuresBy.locator("summary").click();
  await expect(figuresBy.locator("thead th")).toHaveText([
    bucket,
    ...legend.map(({ label }) => label),
    "all",
  ]);
  await expect.poll(() => cells(figuresBy.locator("tbody tr"))).toEqual(expected.reverse());
  const label = await page.locator(".chart [role=img]").getAttribute("aria-label");
  expect(label?.endsWith(`: ${cost(figures(calls))} in all`)).toBe(true);
}

async function year(page: Page, ledger: Ledger, today: string) {
  const costs = ledger.costs();
  const squares = page.locator("[data-day]");
  const labels = await squares.evaluateAll((squares) =>
    squares.map((square) => square.getAttribute("aria-label")),
  );
  const first = addDays(today, 1 - labels.length);
  expect(format.day(first)).toMatch(/^Mon /);
  expect(labels.length).toBeGreaterThan(52 * 7);
  const all = labels.map((_, index) => addDays(first, index));
  const byDay = grouped(ledger.calls, ({ day }) => day);
  const label = (day: string) => {
    const calls = byDay.get(day);
    return `${format.day(day)}: ${calls ? cost(figures(calls)) : "nothing"}`;
  };
  expect(labels).toEqual(all.map(label));
  const active = [...costs].filter(([day]) => day >= first);
  const sum = figures(ledger.calls.filter(({ day }) => day >= first));
  await expect(section(page, "The year").locator("header span")).toHaveText(
    `${cost(sum)} on ${counted(active.length, "day")}`,
  );
}

async function projects(page: Page, world: World, range: "30d" | "all") {
  const calls = world.ledger.within(daysOf(world, range));
  await page.goto(`${world.service.url}/?view=projects&range=${range}`);
  await quiet(page);
  const row = (of: ReturnType<typeof figures>) => [
    count(of.message_count),
    tokens(of.input_tokens),
    tokens(of.output_tokens),
    tokens(cached(of)),
    tokens(of.total_tokens),
    cost(of),
  ];
  const groups = grouped(calls, project);
  const expected = [...groups].map(([path, calls]) => [folder(path), path, ...row(figures(calls))]);
  await expectRows(table(page, "Projects"), expected);
  const total = page.getByRole("table", { name: "Projects" }).locator("tfoot tr");
  await expect.poll(() => cells(total)).toEqual([["total", "", ...row(figures(calls))]]);
  await expect(section(page, "Projects").locator("header span")).toHaveText(
    counted(groups.size, "project"),
  );
  await chart(page, world, range, "project");
}

async function models(page: Page, world: World, range: "30d" | "all") {
  const calls = world.ledger.within(daysOf(world, range));
  await page.goto(`${world.service.url}/?view=models&range=${range}`);
  await quiet(page);
  const row = (of: ReturnType<typeof figures>) => {
    const input = of.input_tokens + cached(of);
    const isPriced = of.unpriced_count === 0 && of.total_tokens > 0;
    return [
      count(of.message_count),
      tokens(of.output_tokens),
      tokens(of.total_tokens),
      input === 0 ? "-" : percent(of.cache_read_tokens / input),
      isPriced ? money((of.cost_nanousd * 1e6) / of.total_tokens) : "-",
      cost(of),
    ];
  };
  const groups = grouped(calls, model);
  await expectRows(
    table(page, "Models"),
    [...groups].map(([name, calls]) => [name, ...row(figures(calls))]),
  );
  const total = page.getByRole("table", { name: "Models" }).locator("tfoot tr");
  await expect.poll(() => cells(total)).toEqual([["total", ...row(figures(calls))]]);
  await chart(page, world, range, "model");
}

/** All rows of a list that draws only those that can be seen. */
async function scrolled(page: Page): Promise<string[][]> {
  const list = page.locator("table.long");
  const rows = new Map<string, string[]>();
  await expect(async () => {
    const seen = await list
      .locator("tr[data-key]")
      .evaluateAll((rows) =>
        rows.map((row) => [
          row.getAttribute("aria-rowindex") ?? "",
          ...Array.from(row.children, (cell) => cell.textContent ?? ""),
        ]),
      );
    for (const [index = "", ...texts] of seen) rows.set(index, texts);
    await page.evaluate(async () => {
      scrollBy(0, innerHeight);
      // The rows are drawn with the next frame.
      for (const _ of [1, 2]) await new Promise(requestAnimationFrame);
    });
    // Unknown until the last page of it has come.
    expect(await list.getAttribute("aria-rowcount")).toBe(`${rows.size + 1}`);
  }).toPass({ intervals: [20], timeout: 10_000 });
  return [...rows.values()];
}

async function sessions(page: Page, world: World, range: "30d" | "all") {
  const { service, ledger } = world;
  const { since, until } = daysOf(world, range);
  await page.goto(`${service.url}/?view=sessions&range=${range}`);
  await quiet(page);
  const known = await service.rows<Session>("/api/v1/marts/session?limit=5000");
  const primary = new Map(known.map((row) => [`${row.provider}/${row.session_id}`, row]));
  const expected = [...grouped(ledger.rows, (row) => `${row.provider}/${row.session_id}`)]
    .filter(([, rows]) => rows.some(({ day }) => day >= since && day <= until))
    .map(([id, rows]) => {
      const calls = rows.filter(({ role }) => role === "assistant");
      const of = figures(calls);
      const cwd = primary.get(id)?.cwd ?? "";
      return [
        format.moment(rows[0]?.ts ?? "", ZONE),
        folder(cwd),
        rows[0]?.provider ?? "",
        primary.get(id)?.primary_model ?? "-",
        count(rows.length - calls.length),
        count(of.message_count),
        tokens(of.output_tokens),
        tokens(of.cache_read_tokens),
        cost(of),
      ];
    });
  const order = (rows: string[][]) => rows.map((row) => row.join(" | ")).sort();
  expect(order(await scrolled(page))).toEqual(order(expected));
  await expect(section(page, "Sessions").locator("header span")).toContainText(
    `${count(expected.length)}, active in these days`,
  );
}

async function session(page: Page, { service, ledger, summary }: World, id: string) {
  const rows = ledger.rows.filter((row) => `${row.provider}/${row.session_id}` === id);
  const calls = rows.filter(({ role }) => role === "assistant");
  const of = figures(calls);
  await page.goto(`${service.url}/?view=sessions&session=${encodeURIComponent(id)}`);
  await quiet(page);
  const head = section(page, "Session");
  await expect(head.locator(".amount")).toHaveText(cost(of));
  await expect(head).toContainText(
    `${format.moment(rows.at(-1)?.ts ?? "", ZONE)} to ${format.moment(rows[0]?.ts ?? "", ZONE)}`,
  );
  const prompts = counted(rows.length - calls.length, "prompt");
  await expect(head).toContainText(
    `${counted(calls.length, "call")}, ${prompts}, ${tokens(of.total_tokens)} tokens: ` +
      `input ${tokens(of.input_tokens)}output ${tokens(of.output_tokens)}` +
      `cache write ${tokens(of.cache_create_tokens)}cache read ${tokens(of.cache_read_tokens)}`,
  );
  await expect(page.getByRole("img")).toHaveAttribute(
    "aria-label",
    `Cost of ${calls.length} calls over time: ${money(of.cost_nanousd)} in all`,
  );
  const expected = calls.map((call) => [
    call.day === summary.day ? format.clock(call.ts, ZONE) : format.moment(call.ts, ZONE),
    `${call.model ?? "-"}${call.is_sidechain ? " subagent" : ""}`,
    tokens(call.input_tokens),
    tokens(call.cache_create_tokens),
    tokens(call.cache_read_tokens),
    tokens(call.output_tokens),
    cost(figures([call])),
  ]);
  await pointed(page, calls, summary.day);
  expect(await scrolled(page)).toEqual(expected);
}

/** The chart of a session tells of the call that is pointed at. */
async function pointed(page: Page, calls: Call[], today: string) {
  const plot = page.locator(".chart .u-over");
  const box = await plot.boundingBox();
  if (!box) throw new Error("there is no chart");
  const tip = page.locator(".pointed");
  await expect(tip).toHaveCount(0);
  // From the axis to the first call there is a little room, and from the last one, too.
  for (const [index, x] of [
    [calls.length - 1, 1],
    [0, box.width - 1],
  ] as const) {
    const call = calls[index];
    if (!call) throw new Error("there are no calls");
    await plot.hover({ position: { x, y: box.height / 2 } });
    const when = call.day === today ? format.clock(call.ts, ZONE) : format.moment(call.ts, ZONE);
    const soFar = figures(calls.slice(index)).cost_nanousd;
    await expect(tip).toHaveText(
      `${when}${cost(figures([call]))}cost so far${money(soFar)}` +
        `${call.model ?? "-"}${tokens(figures([call]).total_tokens)} tokens`,
    );
  }
  await page.mouse.move(0, 0);
  await expect(tip).toHaveCount(0);
}

async function providers(page: Page, { service, ledger }: World) {
  const health = await service.api<Health>("/health");
  const { rows } = await service.api<Providers>("/api/v1/providers");
  await page.goto(`${service.url}/?view=providers`);
  await quiet(page);
  for (const row of rows) {
    const isFound = row.state === "found";
    const card = isFound
      ? section(page, row.provider)
      : section(page, "Not found on this machine").locator(`[data-key="${row.provider}"]`);
    for (const { path } of row.roots)
      await expect(card.getByText(path, { exact: true })).toBeAttached();
    if (!isFound) continue;
    const all = ledger.rows.filter(({ provider }) => provider === row.provider);
    const of = figures(all.filter(({ role }) => role === "assistant"));
    await expect(card.locator(".amount")).toHaveText(cost(of));
    const found = health.checks["sources:found"]?.find((one) => one.componentId === row.provider);
    const said = await card.locator("dl").evaluate((list) => {
      const texts = Array.from(list.children, (child) => child.textContent ?? "");
      return texts.flatMap((text, index) => (index % 2 ? [] : [`${text}: ${texts[index + 1]}`]));
    });
    const skips = Object.entries(row.skips).map(
      ([why, n]) => `${count(n)} ${why.replaceAll("_", " ")}`,
    );
    const concerns = [
      [row.failing, "cannot be read"],
      [row.degraded, "mostly unreadable"],
      [row.missing, "deleted by the agent; what was counted stays"],
    ] as const;
    expect(said).toEqual([
      `calls: ${count(of.message_count)}`,
      `prompts: ${count(all.length - of.message_count)}`,
      `tokens: ${tokens(of.total_tokens)}`,
      ...(of.unpriced_count ? [`unpriced calls: ${count(of.unpriced_count)}`] : []),
      `figures: ${row.quality.map(({ description }) => description).join(", ") || "-"}`,
      `sources: ${count(Number(found?.observedValue))}`,
      ...concerns.flatMap(([n, what]) => (n ? [`of these: ${count(n)} ${what}`] : [])),
      `unread: ${format.bytes(row.unread_bytes)}`,
      `skipped: ${skips.join(", ") || "nothing"}`,
    ]);
  }
}

/** Holds the view to one answer, which stays: some of it changes from moment to moment. */
async function health(page: Page, service: Service) {
  const document = await service.api<Health>("/health");
  const { checks, version } = document;
  await page.route("**/health", (route) => route.fulfill({ json: document }));
  await page.goto(`${service.url}/?view=health`);
  await quiet(page);
  await expect(page.getByText(`tallyd ${version}`)).toBeVisible();
  for (const [name, members] of Object.entries(checks)) {
    const lines = page.locator(`[data-check="${name}"]`);
    const text = (await lines.allTextContents()).join("\n");
    for (const { componentId, status, observedValue, output, lastError } of members) {
      if (output) expect(text).toContain(output);
      if (lastError) expect(text).toContain(lastError);
      if (status !== "pass") expect(text).toContain(`${status}: `);
      // Members with nothing to say are summed up, those with nothing at all left out.
      if (componentId && observedValue !== 0) expect(text).toContain(componentId);
    }
    const quiet = members.filter((one) => one.status === "pass" && !one.output && !one.lastError);
    const said = members.length - quiet.length;
    await expect(lines).toHaveCount(said + Math.min(quiet.length, 1));
    const units: Record<string, (n: number) => string> = {
      bytes: format.bytes,
      sources: (n) => counted(n, "source"),
      events: (n) => counted(n, "event"),
      records: (n) => counted(n, "record"),
      folders: (n) => counted(n, "folder"),
      models: (n) => counted(n, "model"),
    };
    const as = units[members[0]?.observedUnit ?? ""];
    if (as && quiet.length) {
      const sum = quiet.reduce((sum, { observedValue }) => sum + Number(observedValue), 0);
      await expect(lines.first().locator("> .number")).toHaveText(as(sum));
    }
  }
}

test.describe("over the demo", () => {
  let world: World;
  test.beforeEach(async ({ demo }) => {
    world = await worldOf(demo.service);
  });

  test("overview", ({ page }) => overview(page, world, "30d"));
  test("overview of all days", ({ page }) => overview(page, world, "all"));
  test("projects", ({ page }) => projects(page, world, "30d"));
  test("models", ({ page }) => models(page, world, "30d"));
  test("sessions", ({ page }) => sessions(page, world, "30d"));
  test("all sessions", ({ page }) => sessions(page, world, "all"));
  test("providers", ({ page }) => providers(page, world));
  test("health", ({ page }) => health(page, world.service));

  test("a session", async ({ page, demo }) => {
    await session(page, world, `claude-code/${demo.running.session}`);
  });
});

// Over a demo of its own: in the one that all share the session has ended by now.
test("what runs now, and the block it is in", async ({ page, serve }) => {
  const { service, made: running } = await serve(demoWorld);
  const { ledger, summary } = await worldOf(service);
  const { block } = summary;
  if (!block) throw new Error("no block is running in the demo");
  const calls = ledger.calls.filter(({ session_id }) => session_id === running.session);
  const of = figures(calls);
  const before = Date.now();
  await page.goto(service.url);
  const item = page.locator(".running li");
  await expect(item).toHaveCount(1);
  await expect(item.locator(".amount")).toHaveText(cost(of));
  await expect(item).toContainText(
    `claude-opus-5-5, ${counted(of.message_count, "call")}, ${tokens(of.output_tokens)} out`,
  );
  await expect(item.locator(".number").last()).toHaveText(/^\d+ (s|min) ago$/);

  // Only one agent's subscription has such blocks.
  const within = ledger.calls.filter(
    ({ ts, provider }) => provider === "claude-code" && ts >= block.start_ts,
  );
  const all = figures(within);
  const card = section(page, "Five-hour block of claude-code");
  await expect(card.locator(".amount")).toHaveText(cost(all));
  await expect(card).toContainText(`until ${format.clock(block.end_ts, ZONE).slice(0, 5)}`);
  await expect(card.locator("p").last()).toHaveText(
    `${tokens(all.total_tokens)} tokens, ${counted(all.message_count, "call")}`,
  );
  const line = await card.locator("p").nth(1).textContent();
  // Both ends of the time in which it was asked for.
  const asked = [before, Date.now()];
  const leftMs = asked.map((at) => Date.parse(block.end_ts) - at);
  const left = leftMs.map((ms) => format.minutes(ms / 60_000));
  expect(left).toContain(/^(.*) left/.exec(line ?? "")?.[1]);
  const begun = Math.min(...within.map(({ ts_ms }) => ts_ms));
  const hourly = asked.map((at) => all.cost_nanousd / ((at - begun) / 3_600_000));
  expectBetween(Number(/\$([\d.]+)\san hour/.exec(line ?? "")?.[1]), hourly);
  const goals = asked.map((_, i) => {
    return all.cost_nanousd + ((hourly[i] ?? 0) * (leftMs[i] ?? 0)) / 3_600_000;
  });
  expectBetween(headingFor(line), goals);
});

test("over real logs", async ({ page, serve }) => {
  needsCorpus();
  const { service } = await serve(corpus);
  const world = await worldOf(service);
  await test.step("overview", () => overview(page, world, "all"));
  await test.step("projects", () => projects(page, world, "all"));
  await test.step("models", () => models(page, world, "all"));
  await test.step("sessions", () => sessions(page, world, "all"));
  await test.step("providers", () => providers(page, world));
  await test.step("health", () => health(page, service));
  const longest = [...grouped(world.ledger.rows, (row) => `${row.provider}/${row.session_id}`)]
    .filter(([, rows]) => rows.some(({ role }) => role === "assistant"))
    .sort(([, a], [, b]) => b.length - a.length)
    .map(([id]) => id);
  const agents = new Set(world.ledger.calls.map(({ provider }) => provider));
  for (const agent of agents) {
    const id = longest.find((id) => id.startsWith(`${agent}/`));
    if (id) await test.step(`session ${id}`, () => session(page, world, id));
  }
});

test("health says plainly what is wrong", async ({ demo, page }) => {
  const document = await demo.service.api<Health>("/health");
  const checks: Health["checks"] = {
    ...document.checks,
    "sources:failing": [
      {
        componentId: "codex",
        observedValue: 2,
        observedUnit: "sources",
        status: "warn",
        output: "2 logs cannot be read: permission denied",
        lastError: "cannot read /home/ada/<b>x</b>.jsonl: permission denied",
        lastErrorTime: "2026-09-14T12:00:00Z",
      },
      { componentId: "claude-code", observedValue: 0, observedUnit: "sources", status: "pass" },
    ],
    "database:disk": [
      {
        observedValue: 1_000_000,
        observedUnit: "bytes",
        status: "fail",
        output: "too little room",
      },
    ],
    "moon:phase": [{ observedValue: 12_345_678, observedUnit: "ms", status: "pass" }],
  };
  const body = JSON.stringify({ ...document, status: "fail", checks, notes: ["A note."] });
  await page.route("**/health", (route) =>
    route.fulfill({ contentType: "application/health+json", body }),
  );
  await page.goto(demo.service.url);
  const mark = page.getByRole("navigation").getByRole("link", { name: "Health" });
  await expect(mark).toHaveText("Health fail");
  await mark.click();
  await expect(page.getByRole("heading", { name: "Something is broken" })).toBeVisible();
  await expect(page.getByText("A note.")).toBeVisible();
  await expect(page.locator('[data-check="sources:failing"]')).toHaveText([
    /^warn: Logs that cannot be read codex.*2 sources$/,
    /^pass: Logs that cannot be read claude-code0 sources$/,
  ]);
  await expect(page.locator('[data-check="sources:failing"]').first()).toContainText(
    `last error, ${format.moment("2026-09-14T12:00:00Z", ZONE)}: cannot read /home/ada/<b>x</b>.jsonl`,
  );
  await expect(page.locator('[data-check="database:disk"]')).toHaveText(
    /^fail: Room on the disk\s?too little room1.0 MB$/,
  );
  await expect(page.locator('[data-check="moon:phase"]')).toHaveText("pass: moon:phase3 h 25 min");
});
