// Choosing days and filters, sorting, keys: the address says it all, and the back button works.

import type { Page } from "@playwright/test";
import { addDays } from "../src/days";
import * as format from "../src/format";
import type { Problem, Providers, Report, Session } from "../src/types";
import { assertAccessible } from "./support/axe";
import { cost, figures, Ledger } from "./support/ledger";
import { quiet } from "./support/quiet";
import type { Service } from "./support/service";
import { expect, test } from "./support/test";
import { empty, many } from "./support/worlds";

const query = (page: Page) => decodeURIComponent(new URL(page.url()).search);
const menu = (page: Page, name: string) =>
  page.locator(".filters").getByRole("button", { name: RegExp(`^${name}:`) });
const texts = (page: Page, selector: string) => page.locator(selector).allTextContents();

/** What of a view a filter changes. */
const shown = async (page: Page) => ({
  total: await page.locator(".chart [role=img]").getAttribute("aria-label"),
  cards: await texts(page, ".cards .amount"),
  tops: await texts(page, "table.top td"),
  feed: await texts(page, ".feed tbody td"),
});

// Colours that come and go are none to judge.
test.use({ contextOptions: { reducedMotion: "reduce" } });

test.describe("filters and days", () => {
  test("are chosen by mouse, and the address brings them back", async ({ demo, page, context }) => {
    const { service } = demo;
    await page.goto(service.url);
    await menu(page, "Agent").click();
    await page.getByRole("checkbox", { name: /^codex/ }).check();
    await page.getByRole("checkbox", { name: /^gemini-cli/ }).check();
    await expect(menu(page, "Agent")).toHaveText("2 agents");
    await menu(page, "Project").click();
    await page.getByRole("searchbox").fill("ENGI");
    await expect(page.locator(".values li")).toHaveCount(1);
    await page.getByRole("checkbox", { name: /^engine/ }).check();
    await page.locator("h1").click({ force: true });
    await expect(page.locator(".panel")).toHaveCount(0);
    await menu(page, "Days").click();
    await page.getByRole("button", { name: "90 days" }).click();
    await expect(page.locator(".panel")).toHaveCount(0);
    expect(query(page)).toBe(
      "?range=90d&provider=codex&provider=gemini-cli&project=/home/ada/engine",
    );

    const ledger = await Ledger.of(service);
    const { day } = await service.api<{ day: string }>("/api/v1/summary");
    const calls = ledger
      .within({ since: addDays(day, -89) })
      .filter(
        (call) => call.provider !== "claude-code" && call.project_path === "/home/ada/engine",
      );
    const total = `: ${cost(figures(calls))} in all`;
    const label = () => page.locator(".chart [role=img]").getAttribute("aria-label");
    await expect.poll(label).toContain(total);
    await expect(page.locator("table.top").first().locator("td")).toHaveCount(3);
    const today = figures(calls.filter((call) => call.day === day));
    await expect(page.locator(".cards .amount").first()).toHaveText(cost(today));

    const fresh = await context.newPage();
    await fresh.goto(page.url());
    await quiet(page);
    await expect.poll(() => shown(fresh)).toEqual(await shown(page));
    await expect(menu(fresh, "Days")).toHaveText("90 days");
    await fresh.close();

    await page.getByRole("button", { name: "Clear filters" }).click();
    expect(query(page)).toBe("?range=90d");
    await expect(page.getByRole("button", { name: "Clear filters" })).toHaveCount(0);
  });

  test("are chosen by keyboard alone", async ({ demo, page }) => {
    await page.goto(demo.service.url);
    await expect(page.locator(".cards")).toBeVisible();
    const press = (...keys: string[]) =>
      keys.reduce((before, key) => before.then(() => page.keyboard.press(key)), Promise.resolve());

    await press("/");
    await expect(page.getByRole("searchbox")).toBeFocused();
    await page.keyboard.type("atl");
    await expect(page.locator(".values li")).toHaveCount(1);
    await press("Tab", "Space");
    await expect(page.getByRole("checkbox", { name: /^atlas/ })).toBeChecked();
    await press("Escape");
    await expect(page.locator(".panel")).toHaveCount(0);
    await expect(menu(page, "Project")).toBeFocused();
    await expect(menu(page, "Project")).toHaveText("atlas");
    expect(query(page)).toBe("?project=/home/ada/atlas");

    // Back to the agents, and two of them.
    await press("Shift+Tab", "Enter");
    await expect(page.locator(".panel input").first()).toBeFocused();
    await press("Space", "Tab", "Space");
    await expect(menu(page, "Agent")).toHaveText("2 agents");
    expect(query(page)).toMatch(/^\?provider=[\w-]+&provider=[\w-]+&project=\/home\/ada\/atlas$/);
    await press("Escape");

    // Back to the days; what is typed into a date is no key of the page.
    await menu(page, "Days").focus();
    await press("Enter");
    await expect(page.getByRole("button", { name: "Today" })).toBeFocused();
    const { day } = await demo.service.api<{ day: string }>("/api/v1/summary");
    const [first, last] = [`${day.slice(0, 4)}-01-14`, `${day.slice(0, 4)}-01-20`];
    const since = page.locator("input[name=since]");
    await since.fill(last);
    await page.locator("input[name=until]").fill(first);
    await press("Enter");
    await expect(page.locator(".panel")).toHaveCount(0);
    // The earlier one comes first.
    expect(query(page)).toContain(`since=${first}&until=${last}`);
    await expect(menu(page, "Days")).toHaveText("14 Jan to 20 Jan");
    await expect(menu(page, "Days")).toBeFocused();
    // What has the focus can be seen.
    const outline = await menu(page, "Days").evaluate((button) => getComputedStyle(button).outline);
    expect(outline).toMatch(/solid 2px/);

    await page.getByRole("button", { name: "Clear filters" }).focus();
    await press("Enter");
    expect(query(page)).toBe(`?since=${first}&until=${last}`);
  });

  test("the tab key leads through the page and out of it", async ({ demo, page }) => {
    await page.goto(demo.service.url);
    await quiet(page);
    const seen: string[] = [];
    // From the last one it leads to the browser, and back to the first.
    while (seen.length < 2 || seen.at(-1) !== seen[0]) {
      await page.keyboard.press("Tab");
      const at = await page.evaluate(() => {
        const { activeElement: element } = document;
        if (!element || element === document.body) return null;
        const isMarked = getComputedStyle(element).outlineStyle !== "none";
        const text = `${element.tagName} ${element.getAttribute("data-day") ?? element.textContent}`;
        return isMarked || element.matches("[data-day]") ? text : `unmarked: ${text}`;
      });
      expect(at ?? "").not.toContain("unmarked");
      if (at !== null) seen.push(at);
    }
    expect(seen.length).toBeGreaterThan(40);
  });

  test("a bar, a day of the year and a project are ways to them", async ({ demo, page }) => {
    const { service } = demo;
    const { day } = await service.api<{ day: string }>("/api/v1/summary");
    await page.goto(service.url);
    await quiet(page);
    const plot = page.locator(".chart .u-over");
    const box = await plot.boundingBox();
    if (!box) throw new Error("there is no chart");
    // The last of thirty bars.
    await page.mouse.move(box.x + box.width - box.width / 60, box.y + box.height / 2);
    const tip = page.locator(".pointed");
    await expect(tip.locator("strong").first()).toHaveText(format.day(day));
    const today = figures((await Ledger.of(service)).within({ since: day }));
    await expect(tip.locator("strong").last()).toHaveText(cost(today));
    await page.mouse.down();
    await page.mouse.up();
    await expect.poll(() => query(page)).toBe(`?since=${day}&until=${day}`);

    const other = addDays(day, -40);
    await page.locator(`[data-day="${other}"]`).click();
    await expect.poll(() => query(page)).toBe(`?since=${other}&until=${other}`);
    // By arrows, too: a week back, a day on, enter.
    await page.locator(`[data-day="${day}"]`).focus();
    for (const key of ["ArrowLeft", "ArrowLeft", "ArrowUp", "Enter"])
      await page.keyboard.press(key);
    const there = addDays(day, -15);
    await expect.poll(() => query(page)).toBe(`?since=${there}&until=${there}`);

    await page.keyboard.press("d");
    const project = page.getByRole("table", { name: "Projects by cost" }).getByRole("link").first();
    const name = await project.textContent();
    await project.click();
    await expect(menu(page, "Project")).toHaveText(name ?? "");
    // The same once more lets all others through again.
    await page.getByRole("table", { name: "Projects by cost" }).getByRole("link").first().click();
    await expect(menu(page, "Project")).toHaveText("All projects");
  });

  test("back and forward go through them", async ({ demo, page }) => {
    await page.goto(demo.service.url);
    const steps = [await settled(page)];
    const go = async (does: () => Promise<void>) => {
      await does();
      steps.push(await settled(page));
    };
    await go(() => page.keyboard.press("w"));
    await go(() => page.goto(`${demo.service.url}/?range=7d&model=gpt-6.1-sol`).then(() => {}));
    await go(() => page.keyboard.press("2"));
    await go(() => page.getByRole("button", { name: "tokens" }).first().click());
    await go(() => page.locator("thead").getByRole("button", { name: "calls" }).click());
    await go(() => page.keyboard.press("3"));
    await go(() => page.locator("table.long tbody a").first().click());
    const back = [];
    for (let i = steps.length; i > 1; i -= 1) {
      await page.goBack();
      back.push(await settled(page));
    }
    expect(back).toEqual(steps.slice(0, -1).reverse());
    for (const step of steps.slice(1)) {
      await page.goForward();
      expect(await settled(page)).toEqual(step);
    }
  });
});

/** Where the page is and what it shows, once that no longer changes. */
async function settled(page: Page) {
  await quiet(page);
  const amounts = await texts(page, ".amount:not(.running *), tbody tr:first-child td.number");
  expect(amounts.length).toBeGreaterThan(0);
  return { url: page.url(), title: await page.title(), amounts };
}

test("keys lead to the views and the days", async ({ demo, page }) => {
  await page.goto(demo.service.url);
  const views = {
    overview: "Overview",
    projects: "Projects",
    sessions: "Sessions",
    models: "Models",
    providers: "Agents",
    health: "Health",
  };
  for (const [index, [view, title]] of Object.entries(views).entries()) {
    await page.keyboard.press(`${index + 1}`);
    await expect(page.locator("main")).toHaveAttribute("data-view", view);
    await expect(page.locator("nav [aria-current=page]")).toHaveText(title);
    const name = view === "overview" ? /^\$[\d.,]+( \+ \?)? today - tallyd$/ : `${title} - tallyd`;
    await expect(page).toHaveTitle(name);
  }
  await page.keyboard.press("1");
  const ranges = {
    t: "Today",
    w: "7 days",
    d: "30 days",
    m: "This month",
    q: "90 days",
    y: "12 months",
    a: "All days",
  };
  for (const [key, title] of Object.entries(ranges)) {
    await page.keyboard.press(key);
    await expect(menu(page, "Days")).toHaveText(title);
  }
  // Keys of the browser stay the browser's.
  await page.keyboard.press("Control+t");
  await expect(menu(page, "Days")).toHaveText("All days");

  await page.keyboard.press("?");
  const help = page.getByRole("dialog", { name: "Keys" });
  await expect(help).toBeVisible();
  await page.keyboard.press("2");
  await expect(page.locator("main")).toHaveAttribute("data-view", "overview");
  await page.keyboard.press("?");
  await expect(help).toBeHidden();
});

test("keys of one character can be switched off, for good", async ({ demo, page }) => {
  await page.goto(demo.service.url);
  await expect(page.locator("main")).toHaveAttribute("data-view", "overview");
  const help = page.getByRole("dialog", { name: "Keys" });
  const open = () => page.getByRole("button", { name: "Keys" }).click();
  await open();
  await help.getByRole("checkbox").uncheck();
  await page.keyboard.press("Escape");
  await expect(help).toBeHidden();
  for (const time of ["at once", "after the next start"]) {
    await test.step(time, async () => {
      for (const key of ["2", "t", "/", "?"]) await page.keyboard.press(key);
      await expect(help).toBeHidden();
      await expect(page.locator(".panel")).toHaveCount(0);
      await expect(page.locator("main")).toHaveAttribute("data-view", "overview");
      await expect(menu(page, "Days")).toHaveText("30 days");
      await page.reload();
      await expect(page.locator("main")).toHaveAttribute("data-view", "overview");
    });
  }
  await open();
  await help.getByRole("checkbox").check();
  await help.getByRole("button", { name: "Close" }).click();
  await page.keyboard.press("2");
  await expect(page.locator("main")).toHaveAttribute("data-view", "projects");
});

test("escape closes what is open, then leaves a session", async ({ demo, page }) => {
  await page.goto(`${demo.service.url}/?view=sessions`);
  const link = page.locator("table.long tbody a");
  await link.first().focus();
  await page.keyboard.press("ArrowDown");
  await expect(link.nth(1)).toBeFocused();
  await page.keyboard.press("ArrowUp");
  await page.keyboard.press("Enter");
  await expect(page.locator("main")).toHaveAttribute("data-view", "session");
  await page.keyboard.press("?");
  await expect(page.getByRole("dialog")).toBeVisible();
  await page.keyboard.press("Escape");
  await expect(page.getByRole("dialog")).toBeHidden();
  await expect(page.locator("main")).toHaveAttribute("data-view", "session");
  await page.keyboard.press("Escape");
  await expect(page.locator("main")).toHaveAttribute("data-view", "sessions");
});

for (const view of ["projects", "models"] as const) {
  test(`${view} are sorted by each column, as the API does`, async ({ demo, page }) => {
    const by = view === "projects" ? "project" : "model";
    const title = view === "projects" ? "Projects" : "Models";
    await page.goto(`${demo.service.url}/?view=${view}&range=all`);
    const orders: Record<string, string> = {
      calls: "message_count",
      input: "input_tokens",
      output: "output_tokens",
      tokens: "total_tokens",
      cost: "cost_nanousd",
      [by]: by,
    };
    const table = page.getByRole("table", { name: title, exact: true });
    await expect(table).toBeVisible();
    const heads = await table.locator("thead th").allTextContents();
    expect(heads).toEqual(
      expect.arrayContaining(Object.keys(orders).slice(view === "models" ? 2 : 0)),
    );
    for (const head of heads) {
      const order = orders[head];
      const button = table.locator("thead").getByRole("button", { name: head, exact: true });
      const direction = () => table.locator("thead [aria-sort]").getAttribute("aria-sort");
      const isText = head === by || head === "folder";
      for (const isFirst of [true, false]) {
        const isDescending = isText !== isFirst;
        await button.click();
        await expect.poll(direction).toBe(isDescending ? "descending" : "ascending");
        expect(query(page)).toMatch(isDescending ? /&sort=-\w/ : /&sort=\w/);
        if (!order) continue;
        const { rows } = await demo.service.api<Report>(
          `/api/v1/report?by=${by}&limit=1000&order=${isDescending ? "-" : ""}${order}`,
        );
        const keys = rows.map((row) => row[by] ?? "");
        const drawn = () =>
          table.locator("tbody tr").evaluateAll((rows) => rows.map((row) => row.dataset.key));
        await expect.poll(drawn).toEqual(keys);
      }
    }
  });
}

test("sessions are sorted by each column, as the API does", async ({ demo, page }) => {
  await page.goto(`${demo.service.url}/?view=sessions&range=all`);
  const orders: Record<string, string> = {
    "last call": "last_ts",
    project: "cwd",
    agent: "provider",
    model: "primary_model",
    prompts: "user_message_count",
    calls: "message_count",
    output: "output_tokens",
    "cache read": "cache_read_tokens",
    cost: "cost_nanousd",
  };
  const head = page.locator("thead");
  await expect(head).toBeVisible();
  expect((await head.locator("th").allTextContents()).sort()).toEqual(Object.keys(orders).sort());
  await expect(head.locator("[aria-sort]")).toHaveText("last call");
  const direction = () => head.locator("[aria-sort]").getAttribute("aria-sort");
  for (const [title, order] of Object.entries(orders)) {
    const first = title === "last call" ? await direction() : null;
    for (let click = 0; click < 2; click += 1) {
      await head.getByRole("button", { name: title, exact: true }).click();
      await expect(head.locator("[aria-sort]")).toHaveText(title);
      const now = await direction();
      if (first !== null && click === 0) expect(now).not.toBe(first);
      const sign = now === "ascending" ? "" : "-";
      const { rows } = await demo.service.api<{ rows: Session[] }>(
        `/api/v1/marts/session?limit=20&order=${sign}${order}`,
      );
      const keys = rows.map((row) => `${row.provider}/${row.session_id}`);
      const drawn = () =>
        page
          .locator("table.long tr[data-key]")
          .evaluateAll((rows) => rows.slice(0, 20).map((row) => (row as HTMLElement).dataset.key));
      await expect.poll(drawn).toEqual(keys);
    }
  }
});

test("a filter that was never counted is told, with a way out", async ({ demo, page, faults }) => {
  faults.allow(/status 400/, /Failed to load resource: .* 400/);
  const { service } = demo;
  for (const view of ["overview", "projects", "sessions", "models"]) {
    const filter = "project=%2Fhome%2Fada%2Fnowhere";
    const problem: Problem = await (await service.get(`/api/v1/summary?${filter}`)).json();
    await page.goto(`${service.url}/?view=${view}&${filter}`);
    const [said = ""] = problem.detail.split(";");
    await expect(page.getByText(said).first()).toBeVisible();
    await page.getByRole("main").getByRole("link", { name: "Clear the filters" }).first().click();
    await expect(page.getByText(said)).toHaveCount(0);
    await expect(page.locator("main td:visible").first()).toBeVisible();
    await expect(menu(page, "Project")).toHaveText("All projects");
  }
});

test("days without calls say what to do", async ({ demo, page }) => {
  for (const view of ["overview", "projects", "sessions", "models"]) {
    await page.goto(`${demo.service.url}/?view=${view}&since=2020-01-01&until=2020-01-31`);
    await expect(page.getByText("No calls here").first()).toBeVisible();
    await page.getByRole("link", { name: "Show all days, without filters" }).first().click();
    await expect(page.getByText("No calls here")).toHaveCount(0);
    await expect(page.locator("main td:visible").first()).toBeVisible();
    await expect(menu(page, "Days")).toHaveText("All days");
  }
});

test("a session that is not there says so", async ({ demo, page, faults }) => {
  faults.allow(/status 400/, /Failed to load resource: .* 400/);
  await page.goto(`${demo.service.url}/?view=sessions&session=codex%2Fnone`);
  await expect(page.getByText("There is no such session")).toBeVisible();
  await page.getByRole("main").getByRole("link", { name: "All sessions" }).click();
  await expect(page.locator("table.long tbody tr").first()).toBeVisible();
});

test("an empty machine says where it looked", async ({ serve, page }) => {
  const { service }: { service: Service } = await serve(empty);
  const { rows } = await service.api<Providers>("/api/v1/providers");
  const places = rows.flatMap(({ roots }) => roots.map(({ path }) => path));
  expect(places.length).toBeGreaterThan(20);
  for (const view of ["overview", "projects", "sessions", "models", "providers"]) {
    await page.goto(`${service.url}/?view=${view}`);
    await expect(page.getByText("No agent logs found")).toBeVisible();
    await expect(page.getByText("Looked in", { exact: true })).toBeVisible();
    await expect.poll(() => texts(page, ".roots p:visible")).toEqual(places);
  }
});

test.describe("axe finds nothing serious", () => {
  const VIEWS = ["overview", "projects", "sessions", "models", "providers", "health"];

  for (const [look, colorScheme, width] of [
    ["light", "light", 1280],
    ["dark", "dark", 1280],
    ["narrow", "light", 390],
  ] as const) {
    test.describe(look, () => {
      test.use({ colorScheme, viewport: { width, height: 900 } });

      test("on the views", async ({ demo, page }) => {
        // Narrow, the others are made of the same parts.
        const shown = look === "narrow" ? ["overview", "models", "providers"] : VIEWS;
        const views = shown.map((view) => `?view=${view}`);
        const session = `?view=sessions&session=claude-code/${demo.running.session}`;
        for (const place of [
          ...views,
          session,
          "?provider=codex&since=2020-01-01&until=2020-01-02",
        ]) {
          await page.goto(`${demo.service.url}/${place}`);
          await quiet(page);
          expect(await page.locator("html").getAttribute("lang")).toBe("en");
          const levels = await page
            .locator("h1, h2, h3")
            .evaluateAll((headings) => headings.map(({ tagName }) => tagName));
          expect(levels[0]).toBe("H1");
          expect(levels.slice(1)).not.toContain("H1");
          await assertAccessible(page);
        }
      });

      test("with what can be opened", async ({ demo, page }) => {
        await page.goto(demo.service.url);
        await quiet(page);
        await page.getByText("Figures by day").click();
        // Agents and models open as projects do.
        for (const name of look === "light" ? ["Days", "Project"] : ["Project"]) {
          await menu(page, name).click();
          await expect(page.locator(".panel")).toBeVisible();
          await assertAccessible(page);
          await page.keyboard.press("Escape");
        }
        await page.keyboard.press("?");
        await expect(page.getByRole("dialog")).toBeVisible();
        await assertAccessible(page);
      });
    });
  }
});

test("a chart is never drawn of one question's figures under another", async ({ demo, page }) => {
  await page.goto(demo.service.url);
  const legend = page.locator(".legend li bdi");
  await expect(legend).toHaveText(["claude-code", "codex", "gemini-cli"]);
  // What is asked next takes its time: until then all stands as it was.
  let release = () => {};
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  await page.route(/report\?by=(day|week)&by=/, async (route) => {
    await held;
    await route.continue();
  });
  const before = await legend.allTextContents();
  await page.getByRole("button", { name: "model", exact: true }).click();
  await page.keyboard.press("y");
  await expect(menu(page, "Days")).toHaveText("12 months");
  await page.waitForTimeout(300);
  expect(await legend.allTextContents()).toEqual(before);
  await expect(page.locator(".figures summary")).toHaveText("Figures by day");
  release();
  await expect(page.locator(".figures summary")).toHaveText("Figures by week");
  await expect(legend.first()).toHaveText(/^claude-/);
});

test("no two parts of a chart have one colour, whatever was shown before", async ({
  demo,
  page,
}) => {
  await page.goto(demo.service.url);
  for (const by of ["model", "project", "agent"]) {
    await page.getByRole("button", { name: by, exact: true }).click();
    for (const key of ["a", "w", "y"]) {
      await page.keyboard.press(key);
      await page.waitForTimeout(150);
      const dots = page.locator(".legend .dot");
      await expect(dots.first()).toBeVisible();
      const colors = await dots.evaluateAll((dots) =>
        dots.map((dot) => getComputedStyle(dot).backgroundColor),
      );
      expect(new Set(colors).size).toBe(colors.length);
    }
  }
});

test("days without end do not hold up the page", async ({ demo, page }) => {
  const { day } = await demo.service.api<{ day: string }>("/api/v1/summary");
  for (const days of [`since=0001-01-01&until=${day}`, `since=${day}&until=9999-12-31`]) {
    await page.goto(`${demo.service.url}/?${days}`);
    await expect(page.locator(".figures tbody tr").first()).toBeAttached();
    expect(await page.locator(".figures tbody tr").count()).toBeLessThan(600);
  }
});

test("a session opens in another tab, and back leads to where the list was left", async ({
  serve,
  page,
  context,
}) => {
  const { service } = await serve(many(2_000));
  await page.goto(`${service.url}/?view=sessions&range=all`);
  await page.locator("main td a").first().waitFor();
  const other = context.waitForEvent("page");
  await page
    .locator("main td a")
    .first()
    .click({ modifiers: ["ControlOrMeta"] });
  await (await other).close();
  await expect(page.locator("main")).toHaveAttribute("data-view", "sessions");

  const row = page.locator('tr[aria-rowindex="152"]');
  await page.evaluate(() => scrollTo(0, 6_000));
  await row.locator("td").nth(1).click();
  await expect(page.locator("main")).toHaveAttribute("data-view", "session");
  await page.goBack();
  await expect(row).toBeInViewport();
  await row.locator("a").press("Enter");
  await expect(page.locator("main")).toHaveAttribute("data-view", "session");
  await page.keyboard.press("Escape");
  await expect(row).toBeInViewport();
});
