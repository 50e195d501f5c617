import type { Random } from "../random";

/** What a call of a model took. */
export interface Call {
  model: string;
  input: number;
  /** Written to the cache, for an hour. */
  write: number;
  read: number;
  output: number;
}

/** A session as its agent logs it. */
export interface Log {
  /** Below the home folder. */
  file: string;
  /** What has been logged. */
  text: string;
  prompt(at: Date, text: string, model: string): void;
  call(at: Date, call: Call): void;
}

/** A transcript of Claude Code. */
export class Transcript implements Log {
  readonly file: string;
  readonly session: string;
  text = "";
  readonly #cwd: string;
  readonly #random: Random;
  /** More fields of each record. */
  readonly #more: object;

  constructor(random: Random, cwd: string, session = random.uuid(), agent?: string) {
    const folder = `.claude/projects/${slug(cwd)}/${session}`;
    this.file = agent ? `${folder}/subagents/agent-${agent}.jsonl` : `${folder}.jsonl`;
    this.session = session;
    this.#cwd = cwd;
    this.#random = random;
    this.#more = agent ? { isSidechain: true, agentId: agent } : { isSidechain: false };
  }

  prompt(at: Date, text: string): void {
    this.#push(at, { type: "user", message: { role: "user", content: text } });
  }

  /** A response is a record for each block of its content, and each states all its usage. */
  call(at: Date, call: Call): void {
    const id = `msg_01${this.#random.hex(22)}`;
    const requestId = `req_01${this.#random.hex(22)}`;
    const usage = {
      input_tokens: call.input,
      cache_creation_input_tokens: call.write,
      cache_read_input_tokens: call.read,
      cache_creation: { ephemeral_5m_input_tokens: 0, ephemeral_1h_input_tokens: call.write },
      output_tokens: call.output,
      service_tier: "standard",
    };
    const blocks = [{ type: "text", text: "Looking at it." }, { type: "tool_use" }];
    for (const block of this.#random.chance(0.4) ? blocks : blocks.slice(0, 1)) {
      const message = { id, role: "assistant", model: call.model, content: [block], usage };
      this.#push(at, { type: "assistant", requestId, message });
    }
  }

  #push(at: Date, fields: object): void {
    const record = {
      ...this.#more,
      uuid: this.#random.uuid(),
      sessionId: this.session,
      cwd: this.#cwd,
      version: "2.1.260",
      timestamp: at.toISOString(),
      ...fields,
    };
    this.text += `${JSON.stringify(record)}\n`;
  }
}

/** The folder of a directory's transcripts. */
export function slug(path: string): string {
  const slug = path.replace(/[^A-Za-z0-9]/g, "-");
  if (slug.length <= 200) return slug;
  let hash = 0;
  for (let i = 0; i < path.length; i += 1) {
    hash = (Math.imul(hash, 31) + path.charCodeAt(i)) | 0;
  }
  return `${slug.slice(0, 200)}-${Math.abs(hash).toString(36)}`;
}
