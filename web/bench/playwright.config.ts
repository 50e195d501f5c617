import config from "../playwright.config";

/** Measures instead of testing: one thing at a time, as long as it takes. */
export default {
  ...config,
  testDir: ".",
  outputDir: "../test-results",
  workers: 1,
  timeout: 600_000,
};
