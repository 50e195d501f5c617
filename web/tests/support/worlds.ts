import { cpSync, existsSync, readdirSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import type { World } from "./home";
import { Transcript } from "./logs/claude";
import { Random } from "./random";

const DAY_MS = 86_400_000;

/** Nothing but a home folder: no agent has ever run. */
export const empty: World = () => {};

/** So many sessions of one call each, over 200 days; no two cost the same. */
export function many(sessions: number): World {
  return (home) => {
    const days = 200;
    for (let day = 0; day < days; day += 1) {
      const lines: string[] = [];
      for (let session = day; session < sessions; session += days) {
        const at = home.now.getTime() - day * DAY_MS - session * 100;
        lines.push(smallest(session, new Date(at).toISOString()));
      }
      // A transcript may hold several sessions; few files are found sooner than many.
      if (lines.length) home.write(`.claude/projects/many/${day}.jsonl`, lines.join(""));
    }
  };
}

/** Just what a call needs, written without any detour: there may be 50,000. */
function smallest(session: number, at: string): string {
  const number = String(session).padStart(12, "0");
  const project = `project-${session % 40}`;
  const model = ["claude-opus-5", "claude-sonnet-5", "claude-haiku-4-5"][session % 3];
  return (
    `{"type":"assistant","sessionId":"00000000-0000-4000-8000-${number}",` +
    `"cwd":"/home/ada/${project}","timestamp":"${at}","message":{"id":"msg_01AAAAAA${number}",` +
    `"role":"assistant","model":"${model}","usage":{"input_tokens":10,` +
    `"cache_read_input_tokens":20000,"output_tokens":${session + 1}}}}\n`
  );
}

/** What may stand in a project's name: each is the last part of a path, as it is in the log. */
export const NAMES = {
  long: "monorepo-of-everything-".repeat(14).slice(0, 300),
  arabic: "مشروع-المتجر",
  hebrew: "פרויקט חנות 2",
  emoji: "👩‍👩‍👧‍👦 family 🏳️‍🌈 👍🏽",
  combining: "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍a͎̥l͕͓g͎o",
  image: "<img src=x onerror=alert(1)>",
  script: '"><script>alert(2)</script>',
  override: "invoice‮gnp.exe",
  isolate: "⁦open ⁧isolates",
  quotes: `it's "quoted" \`and\` back\\slash`,
  url: "a&b=c?d#e+f%20g;h",
} as const;

/** Not only a project's name comes from a log. */
export const ODD_MODEL = "<b onmouseover=alert(3)>model</b>";

/** A project for each of the names, all with as many calls as its place in the list. */
export const names: World = (home) => {
  const random = new Random(8);
  for (const [i, name] of Object.values(NAMES).entries()) {
    const log = new Transcript(random, `/home/ada/${name}`);
    for (let call = 0; call <= i; call += 1) {
      const at = new Date(home.now.getTime() - (i * 60 + call + 1) * 60_000);
      log.prompt(at, "Go on.");
      const model = name === NAMES.image ? ODD_MODEL : "claude-opus-5";
      log.call(at, { model, input: 5, write: 1_000, read: 50_000, output: 400 });
    }
    home.write(log.file, log.text);
  }
};

const CORPUS = fileURLToPath(new URL("../../../../shared/corpus", import.meta.url));

/** Homes with real logs, if they stand beside this checkout. */
export function corpusHomes(): string[] {
  if (!existsSync(CORPUS)) return [];
  const entries = readdirSync(CORPUS, { withFileTypes: true });
  const homes = entries.filter((entry) => entry.isDirectory());
  return homes.map((home) => join(CORPUS, home.name)).sort();
}

/** What all of these homes hold, in one. Of a file that two of them had, one would be lost. */
export const corpus: World = (home) => {
  for (const from of corpusHomes()) {
    for (const entry of readdirSync(from, { recursive: true, withFileTypes: true })) {
      if (entry.isDirectory()) continue;
      const file = relative(from, join(entry.parentPath, entry.name));
      cpSync(join(from, file), join(home.path, file), { errorOnExist: true, force: false });
    }
  }
};
