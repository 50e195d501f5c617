import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { createServer } from "node:net";
import { fileURLToPath } from "node:url";
import { Home, type World } from "./home";

export const BINARY =
  process.env.TALLYD ?? fileURLToPath(new URL("../../../target/debug/tallyd", import.meta.url));

/** How long the service may take for anything. */
const DEADLINE_MS = 60_000;

/** The part of a summary that says whether it is whole. */
interface Counted {
  reading: string | null;
  budgets: unknown[];
}

/** The real service over a home folder of its own, always at the same address. */
export class Service {
  /** Of all services that this process started. */
  static readonly origins = new Set<string>();

  readonly home: Home;
  readonly port: number;
  readonly #log: string[] = [];
  #process: ChildProcess | undefined;
  /** Waits for the end of the process that is running. */
  #ended: Promise<unknown> = Promise.resolve();

  private constructor(home: Home, port: number) {
    this.home = home;
    this.port = port;
  }

  /** Makes a world, starts the service in it, and waits until all of it is counted. */
  static async over<T>(world: World<T>): Promise<{ service: Service; made: T }> {
    const home = new Home();
    try {
      const made = world(home);
      const service = new Service(home, await freePort());
      Service.origins.add(service.url);
      home.writeConfig(service.port);
      await service.start();
      return { service, made };
    } catch (error) {
      home.remove();
      throw error;
    }
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  get pid(): number {
    if (!this.#process?.pid) throw new Error("the service is not running");
    return this.#process.pid;
  }

  /** What it has logged, over all its runs. */
  get log(): string {
    return this.#log.join("");
  }

  async start(): Promise<void> {
    if (this.#process) throw new Error("the service is running already");
    if (!existsSync(BINARY)) {
      throw new Error(`there is no ${BINARY}: run cargo build, or set TALLYD to the binary`);
    }
    // Nothing of the environment goes along: it may name folders of agents.
    const env = { HOME: this.home.path, TZ: "UTC" };
    const child = spawn(BINARY, ["run"], { env, stdio: ["ignore", "ignore", "pipe"] });
    this.#process = child;
    child.stderr.setEncoding("utf8").on("data", (text) => this.#log.push(text));
    const abandoned = () => child.kill("SIGKILL");
    process.once("exit", abandoned);
    this.#ended = once(child, "exit").finally(() => {
      process.off("exit", abandoned);
      this.#process = undefined;
    });
    try {
      await this.#until("it is ready", async () => (await this.get("/readyz")).ok);
      // Ready means that it answers: what exists may still be being read.
      await this.#until("all is counted", async () => {
        const { reading, budgets } = await this.api<Counted>("/api/v1/summary");
        return reading === null && budgets.length === this.home.budgets;
      });
    } catch (error) {
      if (this.#process) await this.kill();
      throw error;
    }
  }

  /** Ends it as a service manager does. */
  async stop(): Promise<void> {
    const [code] = await this.#end("SIGTERM");
    if (code !== 0) throw new Error(`the service ended with ${code}:\n${this.log}`);
  }

  /** Ends it as a power cut does. */
  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  /** Halts it: connections stay open, and nothing is answered. */
  async pause(): Promise<void> {
    process.kill(this.pid, "SIGSTOP");
    // The signal was sent, and threads on other cores may still be on their way.
    const tasks = `/proc/${this.pid}/task`;
    await this.#until("it halts", async () =>
      readdirSync(tasks).every((id) => isHalted(tasks, id)),
    );
  }

  resume(): void {
    process.kill(this.pid, "SIGCONT");
  }

  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  get(path: string): Promise<Response> {
    return fetch(this.url + path, { signal: AbortSignal.timeout(DEADLINE_MS) });
  }

  /** What the API says at a path like `/api/v1/summary`. */
  async api<T>(path: string): Promise<T> {
    const response = await this.get(path);
    const text = await response.text();
    if (!response.ok) throw new Error(`${path}: ${response.status}: ${text}`);
    return JSON.parse(text) as T;
  }

  /** All rows of a mart, however many pages they take: `/api/v1/marts/session`. */
  async rows<Row>(path: string): Promise<Row[]> {
    const rows: Row[] = [];
    const url = new URL(path, this.url);
    for (;;) {
      const page = await this.api<{ rows: Row[]; next_cursor: string | null }>(
        url.pathname + url.search,
      );
      rows.push(...page.rows);
      if (!page.next_cursor) return rows;
      url.searchParams.set("cursor", page.next_cursor);
    }
  }

  /** Writes a line as an agent does; `file` is below the home folder. */
  append(file: string, line: string): void {
    this.home.append(file, line);
  }

  /** Ends it however it is, and leaves nothing behind. */
  async remove(): Promise<void> {
    if (this.#process) await this.kill();
    this.home.remove();
  }

  async #end(signal: NodeJS.Signals): Promise<[number | null]> {
    const ended = this.#ended;
    process.kill(this.pid, signal);
    const late = AbortSignal.timeout(DEADLINE_MS);
    const end = await Promise.race([ended, once(late, "abort").then(() => undefined)]);
    if (!end) throw new Error(`the service did not end after ${signal}:\n${this.log}`);
    return end as [number | null];
  }

  async #until(what: string, done: () => Promise<boolean>): Promise<void> {
    const end = Date.now() + DEADLINE_MS;
    for (;;) {
      if (!this.#process) throw new Error(`the service ended before ${what}:\n${this.log}`);
      let cause: unknown;
      try {
        if (await done()) return;
      } catch (error) {
        // Until it listens, connections are refused.
        cause = error;
      }
      if (Date.now() > end) {
        throw new Error(`waited too long until ${what}:\n${this.log}`, { cause });
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

/** By the letter after the name of a thread, which may hold anything but ends with a bracket. */
function isHalted(tasks: string, id: string): boolean {
  const stat = readFileSync(`${tasks}/${id}/stat`, "utf8");
  return stat.slice(stat.lastIndexOf(")") + 2).startsWith("T");
}

/**
 * A port that nothing listens on. It is below those that the system gives to connections, or one of
 * them could have it while the service is down.
 */
async function freePort(): Promise<number> {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 10_000);
    const server = createServer();
    const free = await new Promise<boolean>((resolve, reject) => {
      server.once("error", (error: NodeJS.ErrnoException) => {
        if (error.code === "EADDRINUSE") resolve(false);
        else reject(error);
      });
      server.listen(port, "127.0.0.1", () => resolve(true));
    });
    if (!free) continue;
    await new Promise((resolve) => server.close(resolve));
    return port;
  }
}
