// Every check of the service, plainly said.

import { ago, bytes, count, minutes, moment } from "../format";
import { health } from "../live";
import { Nothing, Section } from "../parts/basics";
import { zone } from "../today";
import type { Check, Verdict } from "../types";

/** What each check is about, in the order in which they are shown. */
const PARTS: Record<string, Record<string, string>> = {
  Service: {
    "process:uptime": "Running for",
    "configuration:reload": "The configuration was accepted",
  },
  Logs: {
    "sources:found": "Logs found",
    "sources:unread": "Still to be read",
    "sources:failing": "Logs that cannot be read",
    "sources:degraded": "Logs that are mostly unreadable",
    "sources:denied": "Folders that may not be listed",
    "sources:missing": "Logs that their agent deleted",
    "sources:skipped": "Records that could not be counted",
  },
  Watcher: {
    "watcher:heartbeat": "The watcher was last seen at work",
    "watcher:folders": "Folders watched",
    "watcher:waiting": "Longest wait of a log to be read",
  },
  Writer: {
    "writer:heartbeat": "The writer was last seen at work",
    "writer:errors": "Writing fails",
    "marts:lag": "Not yet in the figures",
  },
  Database: {
    "database:size": "Size",
    "database:wal": "Write-ahead log",
    "database:disk": "Room on the disk",
  },
  "Prices and budgets": {
    "prices:unpriced": "Models without a known price",
    "budgets:used": "Budget",
  },
};

const SAID: Record<Verdict, string> = {
  pass: "All is well",
  warn: "Something needs a look",
  fail: "Something is broken",
};

/** The parts that there are checks of, with each check's title; unknown checks are shown, too. */
function partsOf(checks: Record<string, Check[]>): [string, [string, string][]][] {
  const known = new Set(Object.values(PARTS).flatMap(Object.keys));
  const others = Object.keys(checks).filter((name) => !known.has(name));
  const all = { ...PARTS, Others: Object.fromEntries(others.map((name) => [name, name])) };
  return Object.entries(all)
    .map(([part, titles]): [string, [string, string][]] => [
      part,
      Object.entries(titles).filter(([name]) => checks[name]),
    ])
    .filter(([, titles]) => titles.length > 0);
}

export function HealthView() {
  const report = health.value;
  if (!report) {
    return <Nothing title="Nothing is heard of the service yet" />;
  }
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
        {partsOf(report.checks).map(([part, titles]) => (
          <Section key={part} title={part}>
            <ul>
              {titles.map(([name, title]) => (
                <Lines key={name} name={name} title={title} checks={report.checks[name] ?? []} />
              ))}
            </ul>
          </Section>
        ))}
      </div>
    </>
  );
}

/** A line for each member that has something to say; the others are summed up in one. */
function Lines({ name, title, checks }: { name: string; title: string; checks: Check[] }) {
  const isQuiet = (check: Check) => check.status === "pass" && !check.output && !check.lastError;
  const quiet = checks.filter(isQuiet);
  const said = checks.filter((check) => !isQuiet(check));
  const line = (check: Check) => (
    <Line key={check.componentId} name={name} title={title} check={check} />
  );
  if (quiet.length < 2) {
    return <>{checks.map(line)}</>;
  }
  const parts = quiet
    .filter(({ observedValue }) => observedValue !== 0)
    .map((check) => `${check.componentId} ${short(check)}`)
    .join(", ");
  const sum = quiet.reduce((sum, check) => sum + Number(check.observedValue), 0);
  const { componentId: _, ...first } = quiet[0] as Check;
  return (
    <>
      <Line name={name} title={title} check={{ ...first, observedValue: sum }} parts={parts} />
      {said.map(line)}
    </>
  );
}

function Line(props: { name: string; title: string; check: Check; parts?: string }) {
  const { name, title, check, parts } = props;
  return (
    <li class="check" data-check={name}>
      <i class={`light ${check.status}`} />
      <span>
        <span class="hidden">{check.status}: </span>
        {title}
        {check.componentId && (
          <span class="muted">
            {" "}
            <bdi>{check.componentId}</bdi>
          </span>
        )}
        {parts && <p class="muted">{parts}</p>}
        {check.output && (
          <p class={check.status === "pass" ? "muted" : check.status}>
            <bdi>{check.output}</bdi>
          </p>
        )}
        {check.lastError && (
          <p class="muted">
            last error{check.lastErrorTime && `, ${moment(check.lastErrorTime, zone.value)}`}:{" "}
            <bdi>{check.lastError}</bdi>
          </p>
        )}
      </span>
      <span class="number">{told(name, check)}</span>
    </li>
  );
}

/** What was observed, as an answer to the title of the check. */
function told(name: string, check: Check): string {
  const ms = check.observedValue;
  if (name.endsWith(":heartbeat")) {
    return typeof ms === "number" ? ago(ms) : "not yet";
  }
  if (name === "writer:errors") {
    return ms === 0 ? "no" : `for ${observed(check)}`;
  }
  return observed(check);
}

/** Without the unit, where the sum has it. */
function short(check: Check): string {
  return check.observedUnit === "bytes" ? observed(check) : count(Number(check.observedValue));
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
      return value < 10_000 ? `${count(value)} ms` : duration(value / 1000);
    case "s":
      return duration(value);
    case "%":
      return `${value} %`;
    default:
      return `${count(value)} ${value === 1 ? unit.replace(/s$/, "") : unit}`;
  }
}

/** Seconds in the two largest units. */
function duration(seconds: number): string {
  if (seconds < 120) {
    return `${count(seconds)} s`;
  }
  const days = Math.floor(seconds / 86_400);
  const rest = minutes((seconds / 60) % 1440);
  return days > 0 ? `${count(days)} d ${rest}` : rest;
}
