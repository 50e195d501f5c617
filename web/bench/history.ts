import { execFileSync } from "node:child_process";
import type { World } from "../tests/support/home";
import { BINARY } from "../tests/support/service";

const CALLS_A_DAY = 5_000;
const SESSIONS_A_DAY = 100;
const PROJECTS = 40;
const MODELS = ["claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-4-5", "claude-opus-5"];
const DAY_MS = 86_400_000;

/** So many calls up to this moment, 5,000 of each day, all of them counted. */
export function history(calls: number): World {
  return (home) => {
    for (let day = 0; day < calls / CALLS_A_DAY; day += 1) {
      const end = home.now.getTime() - day * DAY_MS;
      const lines = Array.from({ length: CALLS_A_DAY }, (_, call) => line(end, day, call));
      home.write(`.claude/projects/history/${day}.jsonl`, lines.join(""));
    }
    // It takes longer than a service may take to be ready.
    home.writeConfig(0);
    execFileSync(BINARY, ["backfill"], { env: { HOME: home.path, TZ: "UTC" }, stdio: "ignore" });
  };
}

/** Calls of a day are as far apart as they are over eight hours. */
function line(end: number, day: number, call: number): string {
  const number = String(day * CALLS_A_DAY + call).padStart(12, "0");
  const session = String(day * SESSIONS_A_DAY + (call % SESSIONS_A_DAY)).padStart(12, "0");
  const project = (day + (call % SESSIONS_A_DAY)) % PROJECTS;
  const at = new Date(end - call * 5_760).toISOString();
  const usage = {
    input_tokens: 1 + (call % 12),
    cache_creation_input_tokens: 150 + ((call * 37) % 900),
    cache_read_input_tokens: 9_000 + ((call * 7_919) % 90_000),
    output_tokens: 3 + ((call * 101) % 700),
  };
  const message = {
    id: `msg_01CCCCCC${number}`,
    role: "assistant",
    model: MODELS[call % 4],
    usage,
  };
  const sessionId = `00000000-0000-4000-8000-${session}`;
  const cwd = `/home/ada/project-${project}`;
  return `${JSON.stringify({ type: "assistant", sessionId, cwd, timestamp: at, message })}\n`;
}
