import { type BrowserContext, expect, type Page, type Request } from "@playwright/test";

/** What the pages of a context have asked the service for. */
interface Asked {
  /** Not answered yet. */
  open: Set<Request>;
  /** In all, answered or not. */
  count: number;
}

const contexts = new WeakMap<BrowserContext, Asked>();

/** The stream is never answered to its end. */
const isQuestion = (request: Request) => /\/api\/v1\/(?!stream)/.test(request.url());

/** Follows what pages ask, from before any of them is opened. */
export function followQuestions(context: BrowserContext): void {
  const asked: Asked = { open: new Set(), count: 0 };
  contexts.set(context, asked);
  context.on("request", (request) => {
    if (!isQuestion(request)) return;
    asked.open.add(request);
    asked.count += 1;
  });
  context.on("requestfinished", (request) => asked.open.delete(request));
  context.on("requestfailed", (request) => asked.open.delete(request));
  context.on("page", (page) => {
    page.on("close", () => {
      for (const request of asked.open) {
        if (request.frame().page() === page) asked.open.delete(request);
      }
    });
  });
}

/** Waits until all is answered and nothing has changed for a moment. */
export async function quiet(page: Page): Promise<void> {
  const asked = contexts.get(page.context());
  await expect(page.locator(".connection")).toHaveText("live");
  await expect(async () => {
    const before = asked?.count;
    await still(page);
    expect({ open: asked?.open.size, count: asked?.count }).toEqual({ open: 0, count: before });
  }).toPass({ intervals: [0], timeout: 30_000 });
}

/** Waits until nothing in the document has changed for half a second. */
async function still(page: Page): Promise<void> {
  await page.evaluate(
    () =>
      new Promise<void>((resolve) => {
        let timer = setTimeout(done, 500);
        const observer = new MutationObserver(() => {
          clearTimeout(timer);
          timer = setTimeout(done, 500);
        });
        observer.observe(document, { subtree: true, childList: true, characterData: true });
        function done() {
          observer.disconnect();
          resolve();
        }
      }),
  );
}
