import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Page } from "@playwright/test";
import { assertAccessible } from "./support/axe";
import { demo as demoWorld } from "./support/demo";
import { OFFLINE } from "./support/faults";
import { Home } from "./support/home";
import type { Service } from "./support/service";
import { expect, needsCorpus, test } from "./support/test";
import { corpus, empty, many, NAMES, names, ODD_MODEL } from "./support/worlds";

interface Sums {
  message_count: number;
  cost_nanousd: number;
  unpriced_count: number;
}

interface Summary {
  today: Sums;
  last_30_days: Sums;
  block: Sums | null;
  budgets: unknown[];
}

const summary = "/api/v1/summary";
const sum = (rows: Sums[]) => rows.reduce((calls, row) => calls + row.message_count, 0);

/** A page of the service's that is made up here, under a policy stricter than any it may have. */
async function open(page: Page, service: Service, body: string): Promise<void> {
  const policy = "require-trusted-types-for 'script'; trusted-types 'none'; script-src 'none'";
  const head = '<title>Figures</title><link rel="icon" href="data:,">';
  await page.route("**/made-up", (route) =>
    route.fulfill({
      contentType: "text/html",
      headers: { "content-security-policy": policy },
      body: `<!doctype html><html lang="en">${head}<main>${body}</main></html>`,
    }),
  );
  await page.goto(`${service.url}/made-up`);
}

test("the demo is months of a developer's work, up to this moment", async ({ demo }) => {
  const { service, running } = demo;
  const { today, last_30_days, block, budgets } = await service.api<Summary>(summary);
  const dollars = last_30_days.cost_nanousd / 1e9;
  expect(today.message_count).toBeGreaterThanOrEqual(34);
  expect(dollars).toBeGreaterThan(200);
  expect(dollars).toBeLessThan(600);
  expect(block?.message_count).toBeGreaterThan(0);
  expect(budgets).toHaveLength(1);

  const models = await service.rows<Sums & { model: string }>("/api/v1/marts/model_day");
  expect(sum(models)).toBeGreaterThan(8_000);
  const unpriced = models.filter((row) => row.unpriced_count > 0).map((row) => row.model);
  expect(new Set(unpriced)).toEqual(new Set(["qwen3-coder:30b"]));

  const providers = await service.rows<{ provider: string }>("/api/v1/marts/provider_day");
  const agents = ["claude-code", "codex", "gemini-cli"];
  expect(new Set(providers.map((row) => row.provider))).toEqual(new Set(agents));
  expect(await service.rows("/api/v1/marts/project")).toHaveLength(12);

  const latest = "/api/v1/marts/session?order=-last_ts&limit=1";
  const { rows } = await service.api<{ rows: object[] }>(latest);
  expect(rows).toMatchObject([{ session_id: running.session, cwd: running.project }]);
});

test("the same demo is made each time", () => {
  const now = new Date("2026-11-26T15:30:20Z");
  const digest = () => {
    const home = new Home(now);
    demoWorld(home);
    const hash = createHash("sha256");
    for (const entry of readdirSync(home.path, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue;
      const path = join(entry.parentPath, entry.name);
      hash.update(path.slice(home.path.length)).update(readFileSync(path));
    }
    home.remove();
    return hash.digest("hex");
  };
  expect(digest()).toBe(digest());
});

test("a call of the running session is counted within half a second", async ({ serve }) => {
  const { service, made: running } = await serve(demoWorld);
  const times: number[] = [];
  for (let i = 0; i < 5; i += 1) {
    const { today: before } = await service.api<Summary>(summary);
    const begun = performance.now();
    service.append(running.file, running.line());
    let today = before;
    while (today.message_count === before.message_count && performance.now() - begun < 10_000) {
      ({ today } = await service.api<Summary>(summary));
    }
    times.push(performance.now() - begun);
    expect(today.message_count).toBe(before.message_count + 1);
    expect(today.cost_nanousd).toBeGreaterThan(before.cost_nanousd);
  }
  // One of them at least, as machines that run tests are busy with other things, too.
  expect(Math.min(...times)).toBeLessThan(500);
});

test("an empty home has nothing to count", async ({ serve }) => {
  const { service } = await serve(empty);
  expect(await service.rows("/api/v1/marts/session")).toEqual([]);
});

test("of many sessions each is counted, with a cost of its own", async ({ serve }) => {
  const { service } = await serve(many(2_000));
  const sessions = await service.rows<Sums>("/api/v1/marts/session?limit=1000");
  expect(sessions).toHaveLength(2_000);
  expect(new Set(sessions.map((session) => session.cost_nanousd)).size).toBe(2_000);
});

test("odd names arrive as they were written", async ({ serve }) => {
  const { service } = await serve(names);
  expect([...NAMES.long]).toHaveLength(300);
  const projects = await service.rows<Sums & { path: string }>("/api/v1/marts/project");
  const counted = Object.fromEntries(projects.map((row) => [row.path, row.message_count]));
  const written = Object.values(NAMES).map((name, i) => [`/home/ada/${name}`, i + 1]);
  expect(counted).toEqual(Object.fromEntries(written));
  const models = await service.rows<{ model: string }>("/api/v1/marts/model_day");
  expect(models.map((row) => row.model)).toContain(ODD_MODEL);
});

test("real logs are counted", async ({ serve }) => {
  needsCorpus();
  const { service } = await serve(corpus);
  const providers = await service.rows<Sums>("/api/v1/marts/provider_day?limit=1000");
  const sessions = await service.rows<Sums>("/api/v1/marts/session?limit=1000");
  expect(sum(providers)).toBeGreaterThan(1_000);
  expect(sum(sessions)).toBe(sum(providers));
});

test("a service ends, halts and comes back at its address", async ({ serve }) => {
  const { service, made: running } = await serve(demoWorld);
  const calls = async () => (await service.api<Summary>(summary)).today.message_count;
  const before = await calls();

  await service.restart();
  expect(await calls()).toBe(before);

  await service.kill();
  await expect(service.api(summary)).rejects.toThrow("fetch failed");
  service.append(running.file, running.line());
  await service.start();
  expect(await calls()).toBe(before + 1);

  await service.pause();
  const answer = calls().then(() => "answered");
  const patience = new Promise((resolve) => setTimeout(resolve, 300, "waited"));
  expect(await Promise.race([answer, patience])).toBe("waited");
  service.resume();
  expect(await answer).toBe("answered");
});

test.describe("faults in a page", () => {
  test.beforeEach(({ demo, page }) => open(page, demo.service, "<p>Nothing.</p>"));

  test("are console errors and exceptions", async ({ page, faults }) => {
    await page.evaluate(() => console.error("first"));
    await page.evaluate(() => setTimeout(() => Promise.reject(new Error("second"))));
    await expect.poll(() => faults.seen).toHaveLength(2);
    expect(faults.take()).toEqual([
      expect.stringMatching(/^console error: first/),
      expect.stringMatching(/^page error: Error: second/),
    ]);
  });

  test("are requests that fail, or are answered with an error", async ({ page, faults, serve }) => {
    const { service } = await serve(empty);
    await service.stop();
    await page.evaluate((url) => fetch(url, { mode: "no-cors" }).catch(() => {}), service.url);
    await page.evaluate(() => fetch("/nothing"));
    await expect.poll(() => faults.seen).toHaveLength(4);
    expect(faults.take().sort()).toEqual([
      expect.stringMatching(/^console error: Failed to load .*ERR_CONNECTION_REFUSED/),
      expect.stringMatching(/^console error: Failed to load .* 404/),
      expect.stringMatching(/^failed request: .*ERR_CONNECTION_REFUSED/),
      expect.stringMatching(/^status 404: .*\/nothing/),
    ]);
  });

  test("are requests to other hosts and ports, and dialogs", async ({ page, faults }) => {
    await page.evaluate(() => {
      new Image().src = "https://example.org/pixel.png";
      new WebSocket("ws://127.0.0.1:9/");
      alert("hello");
    });
    const begins = (text: string) => faults.seen.some((fault) => fault.startsWith(text));
    await expect.poll(() => begins("request to another host: example.org")).toBe(true);
    await expect.poll(() => begins("request to another host: 127.0.0.1:9")).toBe(true);
    await expect.poll(() => begins("dialog: hello")).toBe(true);
    // Both are refused, too, and the console says so.
    await expect.poll(() => faults.seen).toHaveLength(6);
    faults.take();
  });

  test("may be expected", async ({ page, faults, serve }) => {
    faults.allow(OFFLINE, /console error: known/);
    const { service } = await serve(empty);
    await service.stop();
    await page.evaluate((url) => fetch(url, { mode: "no-cors" }).catch(() => {}), service.url);
    await page.evaluate(() => console.error("known"));
    await page.evaluate(() => console.error("unknown"));
    await expect.poll(() => faults.seen).toHaveLength(1);
    expect(faults.take()).toEqual([expect.stringContaining("unknown")]);
  });

  test("fail the test", async ({ page, faults }) => {
    await page.evaluate(() => console.error("nobody expected this"));
    await expect.poll(() => faults.seen).toHaveLength(1);
    // From here on the test can only fail by what is left behind.
    test.fail();
  });
});

test.describe("axe", () => {
  const pages = {
    good: "<h1>Figures</h1><p>Nothing yet.</p>",
    bad: '<h1>Figures</h1><img src="" alt="nothing"><button></button>',
    lesser: "<h1>Figures</h1><h4>Days</h4><p>Nothing yet.</p>",
  };

  for (const [name, body] of Object.entries(pages)) {
    test(`judges a page under a strict policy: ${name}`, async ({ demo, page }) => {
      await open(page, demo.service, body);
      const verdict = assertAccessible(page);
      if (name === "bad")
        await expect(verdict).rejects.toThrow(/critical: button-name: .*\n {2}button\n/);
      else await verdict;
    });
  }
});
