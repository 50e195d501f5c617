import type { Random } from "../random";
import type { Call, Log } from "./claude";

/** A rollout of Codex. */
export class Rollout implements Log {
  readonly file: string;
  text = "";
  readonly #cwd: string;
  #total: Call = { model: "", input: 0, write: 0, read: 0, output: 0 };

  constructor(random: Random, cwd: string, begun: Date, modelProvider = "openai") {
    const id = random.uuid(7);
    const [date = "", time = ""] = begun.toISOString().slice(0, 19).split("T");
    const name = `rollout-${date}T${time.replaceAll(":", "-")}-${id}.jsonl`;
    this.file = `.codex/sessions/${date.replaceAll("-", "/")}/${name}`;
    this.#cwd = cwd;
    const timestamp = begun.toISOString();
    this.#push(begun, "session_meta", {
      id,
      timestamp,
      cwd,
      cli_version: "0.98.0",
      source: "cli",
      model_provider: modelProvider,
    });
  }

  prompt(at: Date, text: string, model: string): void {
    this.#push(at, "turn_context", { cwd: this.#cwd, model });
    this.#push(at, "event_msg", { type: "user_message", message: text });
  }

  /** A call, as the sums of the thread so far and its own. */
  call(at: Date, call: Call): void {
    this.#total = {
      ...call,
      input: this.#total.input + call.input,
      read: this.#total.read + call.read,
      output: this.#total.output + call.output,
    };
    const info = { total_token_usage: usage(this.#total), last_token_usage: usage(call) };
    this.#push(at, "event_msg", { type: "token_count", info });
  }

  #push(at: Date, type: string, payload: object): void {
    this.text += `${JSON.stringify({ timestamp: at.toISOString(), type, payload })}\n`;
  }
}

function usage(call: Call): object {
  return {
    input_tokens: call.input + call.read,
    cached_input_tokens: call.read,
    output_tokens: call.output,
    reasoning_output_tokens: Math.floor(call.output / 3),
    total_tokens: call.input + call.read + call.output,
  };
}
