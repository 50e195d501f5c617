import { readFileSync } from "node:fs";
import type { CDPSession, Page } from "@playwright/test";
import { ZONE } from "../tests/support/home";
import { Service } from "../tests/support/service";
import { test } from "../tests/support/test";
import { history } from "./history";

// How fast the page is, over a service that runs at TALLYD_URL, or else over a history of
// CALLS calls that is made for this.

const TIMES = Number(process.env.TIMES ?? 15);
const CALLS = Number(process.env.CALLS ?? 1_000_000);
const IDLE_S = Number(process.env.IDLE_S ?? 60);

/** Milliseconds since the page was asked for. */
interface Shown {
  paint: number;
  today: number;
  all: number;
}

interface Visit extends Shown {
  /** Of all that was asked for: how long it took from the request to the first byte, and to the last. */
  asked: { path: string; wait: number; whole: number; bytes: number }[];
}

let service: Service | undefined;
let url = process.env.TALLYD_URL ?? "";

test.beforeAll(async () => {
  if (url !== "") return;
  ({ service } = await Service.over(history(CALLS)));
  url = service.url;
});

test.afterAll(() => service?.remove());

test("opening the overview", async ({ browser }) => {
  const cold: Visit[] = [];
  const warm: Visit[] = [];
  for (let i = 0; i < TIMES; i += 1) {
    const context = await browser.newContext({ timezoneId: ZONE });
    const page = await context.newPage();
    cold.push(await visit(page));
    warm.push(await visit(page));
    await context.close();
  }
  for (const [name, visits] of Object.entries({ cold, warm })) {
    const row = (what: keyof Shown) => spread(visits.map((visit) => visit[what]));
    console.log(`${name}: first paint ${row("paint")}, today ${row("today")}, all ${row("all")}`);
    const bytes = visits.map(({ asked }) => asked.reduce((sum, { bytes }) => sum + bytes, 0));
    console.log(`${name}: ${(Math.max(...bytes) / 1000).toFixed(1)} kB at most`);
    const paths = new Set(visits.flatMap(({ asked }) => asked.map(({ path }) => path)));
    for (const path of paths) {
      const of = visits.flatMap(({ asked }) => asked.filter((one) => one.path === path));
      const wait = spread(of.map(({ wait }) => wait));
      const kb = (Math.max(...of.map(({ bytes }) => bytes)) / 1000).toFixed(1);
      console.log(`  ${path}: first byte ${wait}, ${kb} kB`);
    }
  }
});

test("each question by itself", async ({ browser }) => {
  const page = await (await browser.newContext({ timezoneId: ZONE })).newPage();
  const asked = new Set<string>();
  page.on("request", (request) => {
    if (/\/api\/v1\/(?!stream)/.test(request.url())) asked.add(request.url());
  });
  const views = ["", "?view=projects", "?view=models", "?view=providers", "?view=sessions"];
  const longer = ["?range=year&by=project", "?range=all", "?view=sessions&range=all&sort=-cost"];
  for (const place of [...views, ...longer]) {
    await page.goto(`${url}/${place}`);
    await page.waitForTimeout(1_500);
  }
  await page.close();
  for (const of of asked) {
    const times: number[] = [];
    for (let i = 0; i < 50; i += 1) {
      const begun = performance.now();
      await (await fetch(of)).arrayBuffer();
      times.push(performance.now() - begun);
    }
    console.log(`  ${decodeURIComponent(of.slice(url.length))}: ${spread(times)}`);
  }
});

test("standing idle", async ({ browser }) => {
  const page = await (await browser.newContext({ timezoneId: ZONE })).newPage();
  await visit(page);
  await page.waitForTimeout(2_000);
  let requests = 0;
  page.on("request", () => {
    requests += 1;
  });
  // One for both looks: a new one begins to count at zero.
  const client = await page.context().newCDPSession(page);
  await client.send("Performance.enable");
  const before = await cpu(client);
  await page.waitForTimeout(IDLE_S * 1_000);
  const after = await cpu(client);
  const share = (what: "page" | "service") =>
    `${(((after[what] - before[what]) / IDLE_S) * 100).toFixed(2)} %`;
  const minutes = IDLE_S / 60;
  console.log(
    `idle: ${(requests / minutes).toFixed(1)} requests a minute; of a core ` +
      `the page ${share("page")}, the service ${service ? share("service") : "unknown"}`,
  );
  await page.close();
});

/** Seconds of processor time so far. */
async function cpu(client: CDPSession): Promise<{ page: number; service: number }> {
  const { metrics } = await client.send("Performance.getMetrics");
  const tasks = metrics.find(({ name }) => name === "TaskDuration")?.value ?? 0;
  const stat = service ? readFileSync(`/proc/${service.pid}/stat`, "utf8") : "";
  const [user = 0, system = 0] = stat
    .slice(stat.lastIndexOf(")") + 2)
    .split(" ")
    .slice(11, 13)
    .map(Number);
  return { page: tasks, service: (user + system) / 100 };
}

async function visit(page: Page): Promise<Visit> {
  await page.addInitScript(() => {
    const shown: Partial<Shown> = {};
    Object.assign(window, { shown });
    const has = (selector: string) => document.querySelector(selector) !== null;
    const parts = [".chart canvas", ".heatmap rect", ".running, .nothing", ".feed tbody tr"];
    const tables = ["Projects", "Models"].map((name) => `[aria-label="${name} by cost"] tr`);
    new MutationObserver(() => {
      if (has('[data-figure="today"]')) shown.today ??= performance.now();
      if ([...parts, ...tables].every(has)) shown.all ??= performance.now();
    }).observe(document, { subtree: true, childList: true });
  });
  await page.goto(url);
  await page.waitForFunction(() => (window as unknown as { shown: Shown }).shown.all !== undefined);
  return page.evaluate(() => {
    const paint =
      performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? Number.NaN;
    const entries = [
      ...performance.getEntriesByType("navigation"),
      ...performance.getEntriesByType("resource"),
    ] as PerformanceResourceTiming[];
    const asked = entries.map((entry) => {
      const { pathname, searchParams } = new URL(entry.name);
      // Which days are meant is another every day.
      const which = ["by", "order"].flatMap((name) => searchParams.getAll(name)).join(" ");
      return {
        path: `${pathname} ${which}`.trim(),
        wait: entry.responseStart - entry.requestStart,
        whole: entry.responseEnd - entry.requestStart,
        bytes: entry.transferSize,
      };
    });
    return { ...(window as unknown as { shown: Shown }).shown, paint, asked };
  });
}

/** The median, and the least and most. */
function spread(values: number[]): string {
  const sorted = values.toSorted((a, b) => a - b);
  const [least = 0, median = 0, most = 0] = [sorted[0], sorted[sorted.length >> 1], sorted.at(-1)];
  return `${median.toFixed(1)} ms (${least.toFixed(1)} to ${most.toFixed(1)})`;
}
