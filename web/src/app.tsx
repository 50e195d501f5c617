// The frame around all views.

import { useEffect, useRef } from "preact/hooks";
import { askAgain, filtered, path, useApi } from "./api";
import { clock, cost } from "./format";
import { Help, isHelpOpen, onKey } from "./keys";
import { connection, health, now, silentSince } from "./live";
import { Link, Nothing, Refusal } from "./parts/basics";
import { FilterBar } from "./parts/filters";
import { place, VIEWS, type View } from "./place";
import { dayIn, today, zone } from "./today";
import type { Report, Summary } from "./types";
import { HealthView } from "./views/health";
import { Models } from "./views/models";
import { Overview } from "./views/overview";
import { Projects } from "./views/projects";
import { Providers } from "./views/providers";
import { SessionView } from "./views/session";
import { Sessions } from "./views/sessions";

/** Views that days and filters do not concern. */
const WITHOUT_FILTERS: View[] = ["providers", "health"];

const READING_MS = 1_000;
const MINUTE_MS = 60_000;
const TURNING_MS = 30_000;

export function App() {
  const { view, session, filters } = place.value;
  const question = path("/api/v1/summary", filtered(filters));
  const { data: summary, problem } = useApi<Summary>(question);
  // Known first of all: every question about days needs it.
  useEffect(() => {
    if (summary) {
      today.value = summary.day;
      zone.value = summary.time_zone;
    }
  }, [summary]);
  useOutdated(question, summary);
  const name = session === "" ? VIEWS[view] : "Session";
  // Of all that is shown, today's cost is what one looks for among tabs.
  const sum = summary && cost(summary.today.cost_nanousd, summary.today.unpriced_count);
  const title = view === "overview" && sum ? `${sum} today` : name;
  useEffect(() => {
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);
  useEffect(() => {
    document.title = `${title} - tallyd`;
  }, [title]);
  // Who hears the page, or goes on by keys, begins at the top of another view.
  const heading = useRef<HTMLHeadingElement>(null);
  const isFirst = useRef(true);
  useEffect(() => {
    if (!isFirst.current) {
      heading.current?.focus({ preventScroll: true });
    }
    isFirst.current = false;
  }, [view, session]);
  const hasFilterBar = !WITHOUT_FILTERS.includes(view) && session === "";
  return (
    <>
      <header class="top">
        <Link to={{ view: "overview" }} class="brand">
          tallyd
        </Link>
        <nav aria-label="Views">
          {(Object.entries(VIEWS) as [View, string][]).map(([name, title]) => (
            <Link key={name} to={{ view: name }} current={name === view}>
              {title}
              {name === "health" && <HealthMark />}
            </Link>
          ))}
        </nav>
        <Connection />
        <button
          type="button"
          class="help"
          aria-label="Keys"
          title="Keys"
          onClick={() => {
            isHelpOpen.value = true;
          }}
        >
          ?
        </button>
      </header>
      {hasFilterBar && <FilterBar />}
      <Offline />
      {summary?.reading && (
        <p class="banner" role="status">
          {summary.reading}: until then the figures are not whole.
        </p>
      )}
      <main data-view={session === "" ? view : "session"}>
        <h1 class="hidden" tabIndex={-1} ref={heading}>
          {name}
        </h1>
        {problem && <Refusal problem={problem} />}
        <Shown view={view} session={session} summary={summary} />
      </main>
      <Help />
    </>
  );
}

/** Has the summary asked anew where time alone changes it: no refresh tells of that. */
function useOutdated(question: string, summary: Summary | undefined): void {
  const isReading = typeof summary?.reading === "string";
  useEffect(() => {
    const timer = isReading ? setInterval(() => askAgain(question), READING_MS) : undefined;
    return () => clearInterval(timer);
  }, [question, isReading]);
  const at = now.value;
  const turnedAt = useRef(0);
  useEffect(() => {
    const day = summary && dayIn(summary.time_zone, at);
    if (typeof day === "string" && day !== summary?.day) {
      turnedAt.current = at;
    }
    // The service itself takes a moment to look at its budgets anew.
    const hasTurned = at - turnedAt.current < TURNING_MS;
    const hasEnded = summary?.block && at >= Date.parse(summary.block.end_ts);
    // Where a budget or a block is heading for is another every minute.
    askAgain(question, hasTurned || hasEnded ? 0 : MINUTE_MS);
  }, [at]);
}

/** The view that the place names, once there is anything to show. */
function Shown(props: { view: View; session: string; summary: Summary | undefined }) {
  const { view, session, summary } = props;
  const { data: ever } = useApi<Report>(path("/api/v1/report", { by: "day", limit: 1 }));
  if (view === "health") {
    return <HealthView />;
  }
  if (view === "providers") {
    return <Providers />;
  }
  if (!summary || !ever) {
    return null;
  }
  if (ever.groups === 0) {
    return <NothingYet isReading={summary.reading !== null} />;
  }
  if (view === "sessions") {
    return session === "" ? <Sessions /> : <SessionView key={session} session={session} />;
  }
  if (view === "projects") {
    return <Projects />;
  }
  if (view === "models") {
    return <Models />;
  }
  return <Overview summary={summary} />;
}

/** No call was ever counted on this machine. */
function NothingYet({ isReading }: { isReading: boolean }) {
  const found = health.value?.checks["sources:found"] ?? [];
  const isFound = found.some(({ componentId }) => componentId !== undefined);
  if (isReading) {
    return <Nothing title="The logs are being read for the first time" />;
  }
  if (isFound) {
    return (
      <Nothing title="No calls yet">
        <p>Logs were found, but no call of a model is in them. They are followed from here on.</p>
        <Link to={{ view: "providers" }}>What was found</Link>
      </Nothing>
    );
  }
  return <Providers />;
}

/** That something needs a look, on every view. */
function HealthMark() {
  const status = health.value?.status;
  return status === undefined || status === "pass" ? null : (
    <span class={`mark ${status}`}> {status}</span>
  );
}

function Connection() {
  const said = {
    connecting: "connecting",
    live: "live",
    polling: "a look every 15 s",
    lost: "not connected",
  };
  const state = connection.value;
  return (
    <span class={`connection ${state}`} role="status">
      <i class="light" />
      {said[state]}
    </span>
  );
}

function Offline() {
  if (silentSince.value === null) {
    return null;
  }
  return (
    <p class="banner fail" role="alert">
      The service does not answer. What is shown is as of {clock(silentSince.value, zone.value)}.
      Start it with <code>tallyd run</code>; this page goes on by itself.
    </p>
  );
}
