import { basename } from "node:path";
import type { Random } from "../random";
import type { Call, Log } from "./claude";

/** A chat of Gemini CLI. Its folder is named by a register of projects. */
export class Chat implements Log {
  readonly file: string;
  text = "";
  readonly #random: Random;

  constructor(random: Random, cwd: string, begun: Date) {
    const sessionId = random.uuid();
    const minute = begun.toISOString().slice(0, 16).replace(":", "-");
    const name = `session-${minute}-${sessionId.slice(0, 8)}.jsonl`;
    this.file = `.gemini/tmp/${basename(cwd)}/chats/${name}`;
    this.#random = random;
    const startTime = begun.toISOString();
    this.#push({ sessionId, projectHash: random.hex(64), startTime, kind: "main" });
  }

  prompt(at: Date, text: string): void {
    this.#push({ ...this.#message(at), type: "user", content: [{ text }] });
  }

  call(at: Date, call: Call): void {
    const thoughts = Math.floor(call.output / 3);
    const tokens = {
      input: call.input + call.read,
      cached: call.read,
      output: call.output - thoughts,
      thoughts,
      tool: 0,
      total: call.input + call.read + call.output,
    };
    this.#push({ ...this.#message(at), type: "gemini", content: "", model: call.model, tokens });
  }

  #message(at: Date): object {
    return { id: this.#random.uuid(), timestamp: at.toISOString() };
  }

  #push(line: object): void {
    this.text += `${JSON.stringify(line)}\n`;
  }
}

/** The register: a folder's name by the directory. */
export function register(directories: readonly string[]): string {
  const named = directories.map((directory) => [directory, basename(directory)]);
  return JSON.stringify({ projects: Object.fromEntries(named) });
}
