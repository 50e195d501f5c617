// Pictures of every view, in test-results/screenshots, for whoever changes how the page looks.

import { fileURLToPath } from "node:url";
import type { Page } from "@playwright/test";
import { OFFLINE } from "./support/faults";
import { quiet } from "./support/quiet";
import { expect, test } from "./support/test";
import { empty } from "./support/worlds";

/** `README=1 npm test screenshots` takes the picture of the README anew. */
const PICTURE = fileURLToPath(new URL("../../docs/overview.png", import.meta.url));

const VIEWS = ["overview", "projects", "sessions", "models", "providers", "health"];

const LOOKS = {
  light: { colorScheme: "light", width: 1280, height: 900 },
  dark: { colorScheme: "dark", width: 1280, height: 900 },
  narrow: { colorScheme: "light", width: 390, height: 844 },
} as const;

/** Lists that are drawn as far as they can be seen. */
const LONG = ["sessions", "session"];

/** A picture of each look; a chart is drawn anew for each. */
async function take(page: Page, name: string, isThere = true): Promise<void> {
  for (const [look, { colorScheme, ...size }] of Object.entries(LOOKS)) {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    await page.setViewportSize(size);
    if (isThere && look === "narrow") {
      await page.reload();
      await quiet(page);
    }
    await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => setTimeout(done))));
    await page.screenshot({
      path: `test-results/screenshots/${name}-${look}.png`,
      fullPage: !LONG.includes(name),
    });
  }
}

test("each view is taken", async ({ demo: { service, running }, page }) => {
  for (const view of VIEWS) {
    await page.goto(`${service.url}/?view=${view}`);
    await quiet(page);
    await take(page, view);
  }
  await page.goto(`${service.url}/?view=sessions&session=claude-code/${running.session}`);
  await quiet(page);
  await take(page, "session");
});

test("an empty machine and an absent service are taken", async ({ page, serve, faults }) => {
  faults.allow(OFFLINE);
  const { service } = await serve(empty);
  await page.goto(service.url);
  await quiet(page);
  await take(page, "empty");
  await service.stop();
  await expect(page.getByRole("alert")).toBeVisible();
  await take(page, "offline", false);
});

test.describe("for the README", () => {
  test.skip(!process.env.README, "taken when it is asked for");
  test.use({ colorScheme: "dark", viewport: { width: 1280, height: 960 } });

  test("the overview is taken", async ({ demo: { service }, page }) => {
    await page.emulateMedia({ reducedMotion: "reduce" });
    await page.goto(service.url);
    await quiet(page);
    // Down to where a row of cards ends.
    const cards = await page.locator(".two").first().boundingBox();
    const height = Math.ceil((cards?.y ?? 0) + (cards?.height ?? 0));
    await page.screenshot({ path: PICTURE, clip: { x: 0, y: 0, width: 1280, height } });
  });
});
