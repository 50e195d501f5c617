import { appendFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

/** What fills a home folder with logs; what it returns tells a test what there is. */
export type World<T = void> = (home: Home) => T;

/** A user's home folder, at first with nothing in it but tallyd's configuration. */
export class Home {
  readonly path = mkdtempSync(join(tmpdir(), "tallyd-page-"));
  /** The moment that logs are written up to. */
  readonly now: Date;
  #tables = "";

  constructor(now = new Date()) {
    this.now = now;
  }

  write(file: string, text: string): void {
    const path = join(this.path, file);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }

  append(file: string, line: string): void {
    appendFileSync(join(this.path, file), line.endsWith("\n") ? line : `${line}\n`);
  }

  /** Adds tables to `config.toml`. */
  configure(tables: string): void {
    this.#tables += `\n${tables}\n`;
  }

  get budgets(): number {
    return this.#tables.split("[[budgets]]").length - 1;
  }

  /** What the world asked for, and where the service listens. */
  writeConfig(port: number): void {
    const keys = { listen: `127.0.0.1:${port}`, time_zone: ZONE };
    const plain = Object.entries(keys).map(([key, value]) => `${key} = ${JSON.stringify(value)}\n`);
    this.write(".config/tallyd/config.toml", plain.join("") + this.#tables);
  }

  remove(): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

const ZONES = [
  "Pacific/Auckland",
  "Australia/Brisbane",
  "Asia/Tokyo",
  "Asia/Shanghai",
  "Asia/Bangkok",
  "Asia/Dhaka",
  "Asia/Karachi",
  "Asia/Dubai",
  "Europe/Helsinki",
  "Europe/Berlin",
  "Europe/London",
  "Atlantic/Azores",
  "Atlantic/South_Georgia",
  "America/Sao_Paulo",
  "America/Halifax",
  "America/New_York",
  "America/Chicago",
  "America/Denver",
  "America/Los_Angeles",
  "America/Anchorage",
  "Pacific/Honolulu",
  "Pacific/Pago_Pago",
];

/** Minutes since midnight in a time zone. */
export function minuteOfDay(at: Date, zone: string): number {
  const parts = new Intl.DateTimeFormat("en-GB", {
    timeZone: zone,
    hour: "numeric",
    minute: "numeric",
    hourCycle: "h23",
  }).formatToParts(at);
  const part = (type: string) => Number(parts.find((part) => part.type === type)?.value);
  return part("hour") * 60 + part("minute");
}

/**
 * The zone that service and browser count days in: one where it is about half past four in the
 * afternoon, so that a day's work is behind and no test ever runs over midnight.
 */
export const ZONE = ((now) => {
  const wished = 16 * 60 + 30;
  const away = (zone: string) => Math.abs(minuteOfDay(now, zone) - wished);
  return ZONES.reduce((best, zone) => (away(zone) < away(best) ? zone : best));
})(new Date());
