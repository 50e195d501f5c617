import { type Home, minuteOfDay, ZONE } from "./home";
import { type Call, type Log, Transcript } from "./logs/claude";
import { Rollout } from "./logs/codex";
import { Chat, register } from "./logs/gemini";
import { Random } from "./random";

/** A session that is running while a test looks: each line is a call that was made just now. */
export interface Running {
  /** Below the home folder. */
  file: string;
  session: string;
  project: string;
  /** A call as it is logged; all of them are different and have a price. */
  line(): string;
}

const DAYS = 200;
/** Nobody worked for these days, counted back from today. */
const HOLIDAY = { first: 84, last: 96 };
const MINUTE_MS = 60_000;
const DAY_MS = 24 * 60 * MINUTE_MS;

type Agent = "claude" | "codex" | "gemini" | "local";

interface Project {
  name: string;
  /** How much is done on it on weekdays and at weekends, from day to day. */
  weekday: number;
  weekend: number;
  /** Days back from today between which it was worked on. */
  from: number;
  until: number;
}

const PROJECTS: Project[] = [
  { name: "engine", weekday: 9, weekend: 2, from: DAYS, until: 0 },
  { name: "storefront", weekday: 8, weekend: 0, from: DAYS, until: 75 },
  { name: "atlas", weekday: 10, weekend: 1, from: 118, until: 0 },
  { name: "billing-api", weekday: 6, weekend: 0, from: 150, until: 20 },
  { name: "mobile-app", weekday: 5, weekend: 1, from: 186, until: 104 },
  { name: "search-service", weekday: 6, weekend: 0, from: 70, until: 0 },
  { name: "design-system", weekday: 3, weekend: 0, from: 48, until: 0 },
  { name: "docs-site", weekday: 2, weekend: 1, from: DAYS, until: 0 },
  { name: "infra", weekday: 2, weekend: 0, from: DAYS, until: 0 },
  { name: "data-pipeline", weekday: 3, weekend: 0, from: 60, until: 5 },
  { name: "dotfiles", weekday: 0.3, weekend: 2, from: DAYS, until: 0 },
  { name: "home-automation", weekday: 0, weekend: 6, from: 140, until: 0 },
];

/** Which models an agent was set to, by days back from today. */
const MODELS: Record<Agent, { from: number; choices: [string, number][] }[]> = {
  claude: [
    {
      from: 44,
      choices: [
        ["claude-opus-5-5", 6],
        ["claude-fable-5-1", 2],
        ["claude-sonnet-5-5", 2],
      ],
    },
    {
      from: 128,
      choices: [
        ["claude-opus-5", 7],
        ["claude-sonnet-5", 3],
      ],
    },
    {
      from: DAYS,
      choices: [
        ["claude-opus-4-8", 6],
        ["claude-sonnet-4-6", 4],
      ],
    },
  ],
  codex: [
    { from: 36, choices: [["gpt-6.1-sol", 1]] },
    { from: 98, choices: [["gpt-5.6-sol", 1]] },
    { from: DAYS, choices: [["gpt-5.5", 1]] },
  ],
  gemini: [
    {
      from: 60,
      choices: [
        ["gemini-3.8-flash", 2],
        ["gemini-3.1-pro-preview", 3],
      ],
    },
    { from: DAYS, choices: [["gemini-3.1-pro-preview", 1]] },
  ],
  local: [{ from: DAYS, choices: [["qwen3-coder:30b", 1]] }],
};

const PROMPTS = [
  "The totals differ between the two reports. Find out why.",
  "Add a test for the empty case.",
  "Rename this to what it does, everywhere.",
  "Go on.",
  "Explain what this query plan means.",
];

/**
 * Some months of a developer who uses three agents and a model of their own: about 9,000 calls, the
 * same at every run but for the day they end on.
 */
export function demo(home: Home): Running {
  home.configure('[[budgets]]\nperiod = "month"\nusd = 400');
  home.write(".gemini/projects.json", register(PROJECTS.map(directory)));
  const minutes = Math.floor(home.now.getTime() / MINUTE_MS) - minuteOfDay(home.now, ZONE);
  const midnight = minutes * MINUTE_MS;
  for (let back = DAYS; back >= 0; back -= 1) {
    // Each day by itself: which weekday another one is changes nothing about it.
    workDay(home, new Random(Math.imul(back + 1, 0x9e3779b1)), back, midnight - back * DAY_MS);
  }
  blockOfNow(home, new Random(20_260_915), midnight);
  return runningSession(home, new Random(20_260_914));
}

/**
 * Whatever else is done today: a call at nine, with which the first block begins, and work on the engine
 * in the hour before now. So the block of now begins at two or later, and none ends while tests run.
 */
function blockOfNow(home: Home, random: Random, midnight: number): void {
  const first = new Date(midnight + (9 * 60 + 5) * MINUTE_MS);
  const latest = new Date(home.now.getTime() - 50 * MINUTE_MS);
  for (const begun of [first, latest]) {
    const log = new Transcript(random, "/home/ada/engine");
    save(home, log, random, begun, talk(random, "claude", "claude-opus-5-5", 5), home.now);
  }
}

function workDay(home: Home, random: Random, back: number, midnight: number): void {
  const weekday = new Intl.DateTimeFormat("en-GB", { timeZone: ZONE, weekday: "short" });
  const isWeekend = weekday.format(new Date(midnight + DAY_MS / 2)).startsWith("S");
  if (back >= HOLIDAY.first && back <= HOLIDAY.last) return;
  // Of the last days, which are looked at most, none is empty.
  if (random.chance(isWeekend ? 0.6 : 0.05) && back > 6) return;
  const load = random.around(1_000, 0.6) / 1_000;
  // It became a habit.
  const habit = 1.25 - (0.5 * back) / DAYS;
  let left = Math.round((isWeekend ? 15 : 47) * load * habit);
  while (left > 0) {
    const calls = Math.min(60, Math.max(5, random.around(16, 0.7)));
    const project = random.pick(
      PROJECTS.filter(({ from, until }) => back <= from && back >= until).map(
        (project) => [project, isWeekend ? project.weekend : project.weekday] as const,
      ),
    );
    const hour = random.pick([
      [9, 3],
      [10, 4],
      [11, 4],
      [13, 3],
      [14, 4],
      [15, 4],
      [16, 3],
      [20, 1],
    ]);
    const begun = new Date(midnight + hour * 60 * MINUTE_MS + random.between(0, 59 * MINUTE_MS));
    session(home, random, { back, project, calls, begun, isWeekend });
    left -= calls;
  }
}

interface Session {
  back: number;
  project: Project;
  calls: number;
  begun: Date;
  isWeekend: boolean;
}

function session(home: Home, random: Random, { back, project, calls, begun, isWeekend }: Session) {
  const agent = random.pick<Agent>([
    ["claude", 70],
    ["codex", 20],
    ["gemini", 8],
    ["local", isWeekend ? 12 : 5],
  ]);
  const model = random.pick(MODELS[agent].find(({ from }) => back <= from)?.choices ?? []);
  const log = logOf(agent, random, directory(project), begun);
  const said = talk(random, agent, model, calls);
  // What is later today has not happened yet, and one session alone is running now.
  const end = new Date(home.now.getTime() - 10 * MINUTE_MS);
  save(home, log, random, begun, said, end);
  if (log instanceof Transcript && random.chance(0.2)) {
    const helper = new Transcript(random, directory(project), log.session, random.hex(7));
    const later = new Date(begun.getTime() + 5 * MINUTE_MS);
    const searched = talk(random, agent, "claude-haiku-4-5", random.between(4, 14));
    save(home, helper, random, later, searched, end);
  }
}

function logOf(agent: Agent, random: Random, directory: string, begun: Date): Log {
  switch (agent) {
    case "claude":
      return new Transcript(random, directory);
    case "gemini":
      return new Chat(random, directory, begun);
    case "codex":
      return new Rollout(random, directory, begun);
    case "local":
      return new Rollout(random, directory, begun, "ollama");
  }
}

interface Step {
  /** Since the session began. */
  afterMs: number;
  /** Somebody asked for it. */
  isPrompted: boolean;
  call: Call;
}

/** The calls of a session: each reads what was said before from the cache and adds to it. */
function talk(random: Random, agent: Agent, model: string, calls: number): Step[] {
  const system = 16_000;
  const steps: Step[] = [];
  let [cached, context, afterMs] = [system, random.between(38_000, 70_000), 0];
  for (let i = 0; i < calls; i += 1) {
    const isPrompted = i === 0 || random.chance(0.16);
    if (i > 0) afterMs += random.between(6_000, 70_000) + (isPrompted ? 90_000 : 0);
    context += Math.min(60_000, random.around(12_000, 0.9));
    const fresh = context - cached;
    const isClaude = agent === "claude";
    const [input, write] = isClaude ? [random.between(2, 12), fresh] : [fresh, 0];
    const output = random.around(2_000, 0.9);
    steps.push({ afterMs, isPrompted, call: { model, input, write, read: cached, output } });
    cached = context;
    context += output;
    // Summed up by the agent before it gets too long.
    if (context > 260_000) [cached, context] = [system, 45_000];
  }
  return steps;
}

/** Writes what of a session had been said at a moment, if anything. */
function save(home: Home, log: Log, random: Random, begun: Date, steps: Step[], end: Date): void {
  if (begun > end) return;
  for (const { afterMs, isPrompted, call } of steps) {
    const at = new Date(begun.getTime() + afterMs);
    if (at > end) break;
    if (isPrompted) log.prompt(at, random.pick(PROMPTS.map((text) => [text, 1])), call.model);
    log.call(at, call);
  }
  home.write(log.file, log.text);
}

function runningSession(home: Home, random: Random): Running {
  const project = "/home/ada/atlas";
  const log = new Transcript(random, project);
  const steps = talk(random, "claude", "claude-opus-5-5", 34);
  const lastedMs = (steps.at(-1)?.afterMs ?? 0) + 15_000;
  save(home, log, random, new Date(home.now.getTime() - lastedMs), steps, home.now);
  const { file, session } = log;
  let calls = 0;
  const line = () => {
    const next = new Transcript(random, project, session);
    calls += 1;
    const tokens = { input: 10, write: 3_000, read: 120_000, output: 500 + calls };
    next.call(new Date(), { model: "claude-opus-5-5", ...tokens });
    return next.text;
  };
  return { file, session, project, line };
}

function directory(project: Project): string {
  return `/home/ada/${project.name}`;
}
