import type { Page } from "@playwright/test";
import axe, { type AxeResults, type Result } from "axe-core";

const SERIOUS = new Set(["serious", "critical"]);

/** Fails if axe finds a serious accessibility fault on the page; lesser ones are printed. */
export async function assertAccessible(page: Page): Promise<void> {
  // Evaluated by the browser's own tools: the page's policy stays as it is.
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate<AxeResults>("axe.run(document)");
  const isSerious = ({ impact }: Result) => SERIOUS.has(impact ?? "serious");
  const lesser = violations.filter((violation) => !isSerious(violation));
  if (lesser.length) console.log(`axe, ${page.url()}:\n${lesser.map(described).join("\n")}`);
  const serious = violations.filter(isSerious);
  if (serious.length) throw new Error(`axe, ${page.url()}:\n${serious.map(described).join("\n")}`);
}

/** The rule, and each place that breaks it with what to do. */
function described({ id, impact, help, helpUrl, nodes }: Result): string {
  const places = nodes.map(({ target, failureSummary = "" }) => {
    return `  ${target.join(" ")}\n    ${failureSummary.replaceAll("\n", "\n    ")}`;
  });
  return `${impact ?? "of no known impact"}: ${id}: ${help} (${helpUrl})\n${places.join("\n")}`;
}
