import type { BrowserContext, Request } from "@playwright/test";
import { Service } from "./service";

/**
 * What the browser complains of while the service is away. Opening a stream anew, and being refused,
 * is how a page waits for it.
 */
export const OFFLINE =
  /ERR_(CONNECTION_(REFUSED|RESET)|INCOMPLETE_CHUNKED_ENCODING|EMPTY_RESPONSE)/;

/** Console errors, exceptions, failed requests and requests elsewhere, of all pages of a test. */
export class Faults {
  /** What was not allowed so far. */
  readonly seen: string[] = [];
  readonly #allowed: RegExp[] = [];

  constructor(context: BrowserContext) {
    context.on("console", (message) => {
      if (message.type() !== "error") return;
      const { url, lineNumber } = message.location();
      this.#see(`console error: ${message.text()} (${url}:${lineNumber})`);
    });
    context.on("weberror", (error) => {
      this.#see(`page error: ${error.error().stack ?? error.error()}`);
    });
    context.on("request", (request) => this.#seeElsewhere(request.url()));
    context.on("requestfailed", (request) => this.#seeFailed(request));
    context.on("response", (response) => {
      if (response.status() >= 400) this.#see(`status ${response.status()}: ${response.url()}`);
    });
    context.on("page", (page) => {
      page.on("websocket", (socket) => this.#seeElsewhere(socket.url()));
      page.on("crash", () => this.#see("the page crashed"));
    });
    // A script that came in by a name would show itself so.
    context.on("dialog", async (dialog) => {
      this.#see(`dialog: ${dialog.message()}`);
      await dialog.dismiss();
    });
  }

  /** Faults that match are expected from now on. */
  allow(...patterns: RegExp[]): void {
    this.#allowed.push(...patterns);
  }

  /** What was seen, which is then forgotten. */
  take(): string[] {
    return this.seen.splice(0);
  }

  assertNone(): void {
    const seen = this.take();
    if (seen.length) throw new Error(`faults in the page:\n${seen.join("\n")}`);
  }

  #see(fault: string): void {
    if (!this.#allowed.some((pattern) => pattern.test(fault))) this.seen.push(fault);
  }

  #seeFailed(request: Request): void {
    const reason = request.failure()?.errorText ?? "for no reason";
    // The page itself no longer wanted it, or went away.
    if (reason !== "net::ERR_ABORTED") this.#see(`failed request: ${request.url()}: ${reason}`);
  }

  #seeElsewhere(url: string): void {
    const { protocol, origin, host } = new URL(url);
    if (!/^(http|ws)s?:$/.test(protocol)) return;
    if (!Service.origins.has(origin)) this.#see(`request to another host: ${host}: ${url}`);
  }
}
