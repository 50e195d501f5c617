// Every check of the service, plainly said.

import { bytes, count, minutes } from "../format";
import { health } from "../live";
import { Nothing, Section } from "../parts/basics";
import type { Check, Verdict } from "../types";

/** What each check is about. */
const TITLES: Record<string, string> = {
  "budgets:used": "Budget",
  "configuration:reload": "The configuration was accepted",
  "database:disk": "Room on the disk of the database",
  "database:size": "Size of the database",
  "database:wal": "Write-ahead log of the database",
  "marts:lag": "Events that the figures lack",
  "prices:unpriced": "Models without a known price",
  "process:uptime": "Running for",
  "sources:degraded": "Logs that are mostly unreadable",
  "sources:denied": "Folders that may not be listed",
  "sources:failing": "Logs that cannot be read",
  "sources:found": "Logs found",
  "sources:missing": "Logs that their agent deleted",
  "sources:skipped": "Records that could not be counted",
  "sources:unread": "Still to be read",
  "watcher:folders": "Folders watched",
  "watcher:heartbeat": "The watcher is alive, last seen",
  "watcher:waiting": "Longest wait to be read",
  "writer:errors": "Writing fails for",
  "writer:heartbeat": "The writer is alive, last seen",
};

const PARTS: Record<string, string> = {
  process: "Service",
  configuration: "Service",
  watcher: "Watcher",
  sources: "Logs",
  writer: "Writer",
  marts: "Figures",
  database: "Database",
  prices: "Prices and budgets",
  budgets: "Prices and budgets",
};

const SAID: Record<Verdict, string> = {
  pass: "All is well",
  warn: "Something needs a look",
  fail: "Something is broken",
};

export function HealthView() {
  const report = health.value;
  if (!report) {
    return <Nothing title="Nothing is heard of the service yet" />;
  }
  const parts = Map.groupBy(Object.entries(report.checks), ([name]) => {
    const part = name.split(":")[0] ?? name;
    return PARTS[part] ?? part;
  });
  return (
    <>
      <Section title={SAID[report.status]} class={`verdict ${report.status}`}>
        <p class="muted">
          tallyd {report.version}, database in <bdi>{report.serviceId}</bdi>
        </p>
        {report.notes?.map((note) => (
          <p key={note}>{note}</p>
        ))}
      </Section>
      <div class="checks">
        {[...parts].map(([part, checks]) => (
          <Section key={part} title={part}>
            <ul>
              {checks.flatMap(([name, all]) =>
                all.map((check) => (
                  <CheckLine key={name + (check.componentId ?? "")} name={name} check={check} />
                )),
              )}
            </ul>
          </Section>
        ))}
      </div>
    </>
  );
}

function CheckLine({ name, check }: { name: string; check: Check }) {
  const title = TITLES[name] ?? name;
  return (
    <li class="check" data-check={name}>
      <i class={`light ${check.status}`} />
      <span class="hidden">{check.status}: </span>
      <span>
        {title}
        {check.componentId && (
          <span class="muted">
            {" "}
            <bdi>{check.componentId}</bdi>
          </span>
        )}
        {check.output && (
          <p class={check.status === "pass" ? "muted" : check.status}>
            <bdi>{check.output}</bdi>
          </p>
        )}
        {check.lastError && (
          <p class="muted">
            last error, {check.lastErrorTime}: <bdi>{check.lastError}</bdi>
          </p>
        )}
      </span>
      <span class="number">{observed(check)}</span>
    </li>
  );
}

/** What was observed, with a unit that people use. */
export function observed({ observedValue: value, observedUnit: unit }: Check): string {
  if (value === null) {
    return "-";
  }
  if (typeof value === "boolean") {
    return value ? "yes" : "no";
  }
  switch (unit) {
    case "bytes":
      return bytes(value);
    case "ms":
      return value < 10_000 ? `${count(value)} ms` : seconds(value / 1000);
    case "s":
      return seconds(value);
    default:
      return `${unit === "%" ? value : count(value)} ${value === 1 ? unit.replace(/s$/, "") : unit}`;
  }
}

function seconds(n: number): string {
  const days = Math.floor(n / 86_400);
  return n < 120
    ? `${count(n)} s`
    : days > 0
      ? `${count(days)} d ${minutes((n / 60) % 1440)}`
      : minutes(n / 60);
}
