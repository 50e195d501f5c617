import { existsSync } from "node:fs";
import { defineConfig } from "@playwright/test";

const DEBIAN = "/usr/bin/chromium";
const executablePath = process.env.CHROMIUM ?? (existsSync(DEBIAN) ? DEBIAN : undefined);

export default defineConfig({
  testDir: "tests",
  outputDir: "test-results",
  forbidOnly: Boolean(process.env.CI),
  retries: 0,
  workers: 1,
  // Nothing is measured by these: what must be quick is held to its time where it is tested. An answer
  // is waited for less long than the 15 s after which the page looks by itself.
  timeout: 120_000,
  expect: { timeout: 10_000 },
  reporter: "list",
  use: {
    browserName: "chromium",
    headless: true,
    locale: "en-US",
    launchOptions: {
      ...(executablePath && { executablePath }),
      args: [
        // The tests may run as root, which the sandbox does not allow.
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        // Whatever a page asks for, nothing leaves this machine.
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
      ],
    },
  },
});
