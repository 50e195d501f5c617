// Names from logs are text: long ones, those that run the other way, and those that look like HTML.

import type { Page } from "@playwright/test";
import { folderName } from "../src/format";
import { cost, figures, grouped, Ledger } from "./support/ledger";
import { quiet } from "./support/quiet";
import type { Service } from "./support/service";
import { expect, test } from "./support/test";
import { NAMES, names, ODD_MODEL } from "./support/worlds";

const PATHS = Object.values(NAMES).map((name) => `/home/ada/${name}`);
const VIEWS = ["overview", "projects", "sessions", "models", "providers", "health"];

/** Nothing of a name became part of the page, and nothing is wider than the window. */
async function expectSound(page: Page): Promise<void> {
  await expect(page.locator("main section").first()).toBeVisible();
  const found = await page.evaluate(() => ({
    made: document.querySelectorAll("img, main b b, main script, [onmouseover], [onerror]").length,
    width: document.documentElement.scrollWidth - innerWidth,
  }));
  expect(found).toEqual({ made: 0, width: 0 });
}

async function session(service: Service, name: string): Promise<string> {
  const ledger = await Ledger.of(service);
  const call = ledger.calls.find(({ project_path }) => project_path === `/home/ada/${name}`);
  if (!call) throw new Error(`no call in ${name}`);
  return encodeURIComponent(`${call.provider}/${call.session_id}`);
}

for (const width of [1280, 960, 768, 390]) {
  test(`no name breaks a view that is ${width} wide`, async ({ serve, page }) => {
    const { service } = await serve(names);
    await page.setViewportSize({ width, height: 900 });
    for (const view of VIEWS) {
      await page.goto(`${service.url}/?view=${view}&by=project`);
      await expectSound(page);
    }
    for (const name of [NAMES.long, NAMES.image]) {
      await page.goto(`${service.url}/?view=sessions&session=${await session(service, name)}`);
      await expectSound(page);
      await expect(page.locator("main .name").first()).toHaveText(folderName(`/home/ada/${name}`));
    }
    const filter = encodeURIComponent(`/home/ada/${NAMES.long}`);
    await page.goto(
      `${service.url}/?project=${filter}&model=${encodeURIComponent("claude-opus-5")}`,
    );
    await expectSound(page);
    for (const menu of ["Days", "Agent", "Project", "Model"]) {
      await page
        .locator(".filters")
        .getByRole("button", { name: RegExp(`^${menu}:`) })
        .click();
      await expect(page.locator(".panel")).toBeVisible();
      await expectSound(page);
      const panel = await page.locator(".panel").boundingBox();
      expect((panel?.x ?? 0) + (panel?.width ?? 0)).toBeLessThanOrEqual(width);
      expect(panel?.x ?? -1).toBeGreaterThanOrEqual(0);
    }
  });
}

test("every name is shown as it is, apart from its neighbours, and whole on asking", async ({
  serve,
  page,
}) => {
  const { service } = await serve(names);
  const ledger = await Ledger.of(service);
  const groups = grouped(ledger.calls, (call) => call.project_path);
  const costs = (paths: string[]) => paths.map((path) => cost(figures(groups.get(path) ?? [])));
  // Each name in an element of its own, which no direction leaves.
  const isolated = (selector: string) =>
    page.locator(selector).evaluateAll((all) =>
      all.map((one) => ({
        tag: one.tagName,
        text: one.textContent ?? "",
        title: one.closest("[title]")?.getAttribute("title") ?? "",
        isolation: getComputedStyle(one).unicodeBidi,
      })),
    );
  const expected = (paths: string[]) =>
    paths.map((path) => ({
      tag: "BDI",
      text: folderName(path),
      title: path,
      isolation: "isolate",
    }));
  const bySize = (paths: string[]) =>
    paths.toSorted((a, b) => {
      const of = (path: string) => figures(groups.get(path) ?? []).cost_nanousd;
      return of(b) - of(a);
    });
  const sorted = bySize(PATHS);

  await page.goto(`${service.url}/?view=projects`);
  await quiet(page);
  const row = page.getByRole("table", { name: "Projects", exact: true }).locator("tbody tr");
  await expect(row).toHaveCount(PATHS.length);
  expect(await isolated("tbody tr td:first-child bdi")).toEqual(expected(sorted));
  expect((await isolated("tbody tr td:nth-child(2) bdi")).map(({ text }) => text)).toEqual(sorted);
  await expect(row.locator("td:last-child")).toHaveText(costs(sorted));
  expect(await isolated(".legend li bdi")).toEqual([
    ...expected(sorted.slice(0, 7)),
    { tag: "BDI", text: "4 others", title: "4 others", isolation: "isolate" },
  ]);

  await test.step("in the chart's own words", async () => {
    const box = await page.locator(".chart .u-over").boundingBox();
    if (!box) throw new Error("there is no chart");
    await page.mouse.move(box.x + box.width * (1 - 1 / 60), box.y + box.height / 2);
    await expect(page.locator(".pointed .name")).toHaveCount(8);
    const said = await isolated(".pointed bdi");
    expect(said.map(({ tag, text }) => `${tag} ${text}`)).toEqual(
      expect.arrayContaining(sorted.slice(0, 7).map((path) => `BDI ${folderName(path)}`)),
    );
    await expectSound(page);
  });

  await test.step("in the menu", async () => {
    await page.getByRole("button", { name: /^Project:/ }).click();
    await expect(page.locator(".values bdi")).toHaveCount(PATHS.length);
    expect(await isolated(".values bdi")).toEqual(expected(sorted));
    await page.getByRole("searchbox").fill("<IMG");
    await page.getByRole("checkbox").click();
    await expect(page.getByRole("button", { name: /^Project:/ })).toHaveText(NAMES.image);
    await page.keyboard.press("Escape");
    await page.locator("tbody a").first().hover();
    await expectSound(page);
  });

  await test.step("in the sessions, the latest calls and the tops", async () => {
    await page.goto(`${service.url}/?view=sessions`);
    await quiet(page);
    await expect(page.locator("table.long td:nth-child(2) bdi")).toHaveCount(PATHS.length);
    const shown = await isolated("table.long td:nth-child(2) bdi");
    expect(shown).toEqual(expect.arrayContaining(expected(PATHS)));
    await page.goto(service.url);
    await quiet(page);
    await expect(page.locator("table.top").first().locator("bdi")).toHaveCount(6);
    expect((await isolated("table.top bdi")).slice(0, 6)).toEqual(expected(sorted.slice(0, 6)));
    await expect(page.locator(".feed bdi").first()).toBeVisible();
    await expectSound(page);
  });

  await test.step("a model's, too", async () => {
    await page.goto(`${service.url}/?view=models`);
    await quiet(page);
    const model = page.getByRole("table", { name: "Models" }).getByText(ODD_MODEL, { exact: true });
    await expect(model).toBeVisible();
    await model.hover();
    await expectSound(page);
  });
});

test("what turns the direction round does not reach beyond its name", async ({ serve, page }) => {
  const { service } = await serve(names);
  await page.goto(`${service.url}/?view=projects`);
  await quiet(page);
  for (const name of [NAMES.override, NAMES.isolate, NAMES.arabic, NAMES.hebrew]) {
    const row = page.locator(`tbody tr[data-key="/home/ada/${name}"]`);
    await expect(row).toBeVisible();
    // Columns keep their order, and each figure is drawn from left to right in its cell.
    const places = await row
      .locator("td")
      .evaluateAll((cells) => cells.map((cell) => cell.getBoundingClientRect().left));
    expect(places).toEqual(places.toSorted((a, b) => a - b));
    const drawn = await row
      .locator("td.number")
      .last()
      .evaluate((cell) => {
        const text = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT).nextNode();
        if (!text) return [];
        return Array.from(text.nodeValue ?? "", (_, index) => {
          const range = document.createRange();
          range.setStart(text, index);
          range.setEnd(text, index + 1);
          return range.getBoundingClientRect().left;
        });
      });
    expect(drawn.length).toBeGreaterThan(3);
    expect(drawn).toEqual(drawn.toSorted((a, b) => a - b));
  }
});
