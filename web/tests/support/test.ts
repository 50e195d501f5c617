import { writeFileSync } from "node:fs";
import { type BrowserContext, test as base } from "@playwright/test";
import { demo as demoWorld, type Running } from "./demo";
import { Faults } from "./faults";
import { type World, ZONE } from "./home";
import { followQuestions } from "./quiet";
import { Service } from "./service";
import { corpusHomes } from "./worlds";

export { expect } from "@playwright/test";

/** A developer's home and the service over it. All tests of a worker share it: nothing is broken in it. */
export interface Demo {
  service: Service;
  running: Running;
}

interface Fixtures {
  /** What went wrong in the pages of a test; the test fails if it was not expected. */
  faults: Faults;
  /** Starts a service over a world of the test's own, which may be stopped, killed or changed. */
  serve: <T>(world: World<T>) => Promise<{ service: Service; made: T }>;
}

interface WorkerFixtures {
  demo: Demo;
}

export const test = base.extend<Fixtures, WorkerFixtures>({
  timezoneId: ZONE,

  demo: [
    // biome-ignore lint/correctness/noEmptyPattern: what a fixture needs is read from its pattern
    async ({}, use) => {
      const { service, made } = await Service.over(demoWorld);
      try {
        await use({ service, running: made });
      } finally {
        await service.remove();
      }
    },
    { scope: "worker" },
  ],

  serve: async ({ context }, use, info) => {
    const services: Service[] = [];
    try {
      await use(async (world) => {
        const served = await Service.over(world);
        services.push(served.service);
        return served;
      });
    } finally {
      // A page that is still open would complain of what goes away now.
      for (const page of context.pages()) await page.close();
      for (const service of services) {
        if (info.status !== info.expectedStatus) {
          const path = info.outputPath(`tallyd-${service.port}.log`);
          writeFileSync(path, service.log);
          await info.attach("what the service logged", { path });
        }
        await service.remove();
      }
    }
  },

  faults: [
    async ({ context }: { context: BrowserContext }, use) => {
      const faults = new Faults(context);
      followQuestions(context);
      await use(faults);
      faults.assertNone();
    },
    { auto: true },
  ],
});

/** Skips a test where there are no real logs, and says so. */
export function needsCorpus(): void {
  const isMissing = corpusHomes().length === 0;
  if (isMissing) console.log("skipped: no corpus of real logs beside this checkout");
  test.skip(isMissing, "no corpus of real logs beside this checkout");
}
