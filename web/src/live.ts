// The connection to the service: what it tells of changes, and whether it is there at all.

import { computed, signal } from "@preact/signals";
import type { Health, Refresh } from "./types";

/** How often the service is asked how it is; it costs it nothing. */
const CHECK_MS = 15_000;
/** What should take a millisecond and takes this long does not answer. */
const PATIENCE_MS = 5_000;
/** Once it is gone it is looked for this often, and with less patience. */
const AGAIN_MS = 1_000;
const LOST_PATIENCE_MS = 2_000;
/** A restart is over before this; only then it is worth a word. */
const GRACE_MS = 1_500;
const TICK_MS = 10_000;

/** Polling: the service answers, but has no stream to give. */
type Connection = "connecting" | "live" | "polling" | "lost";

export const connection = signal<Connection>("connecting");
/** Whether it is time to ask: what is asked before the stream is there would be asked again then. */
export const isThere = computed(
  () => connection.value === "live" || connection.value === "polling",
);
/** When the service was last heard of, by the browser's clock. */
const heardAt = signal(Date.now());
const lostAt = signal<number | null>(null);
export const health = signal<Health | null>(null);
/** Advances now and then, for what is told relative to now. */
export const now = signal(Date.now());

/** Since when nothing is heard of the service, if that is so and worth a word. */
export const silentSince = computed(() =>
  lostAt.value !== null && now.value - lostAt.value >= GRACE_MS ? heardAt.value : null,
);

const listeners = new Set<(refresh: Refresh) => void>();

/** Has `listener` told of every refresh, and of each time that some may have been missed. */
export function onRefresh(listener: (refresh: Refresh) => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function tell(refresh: Refresh): void {
  for (const listener of listeners) {
    listener(refresh);
  }
}

const EVERYTHING: Refresh = { all_changed: true, dirty_days: [] };

let stream: EventSource | null = null;
/** When to look for the stream again, or for the service. */
let again: ReturnType<typeof setTimeout> | undefined;
/** How often the stream was refused in a row. */
let refusals = 0;
let isChecking = false;

function open(): void {
  close();
  const opened = new EventSource("/api/v1/stream");
  stream = opened;
  let isFirst = true;
  // What lies between may keep it for itself.
  later(poll, PATIENCE_MS);
  // The service looks at its figures before it answers: what is asked from here on misses nothing.
  opened.addEventListener("open", () => {
    clearTimeout(again);
    again = undefined;
    refusals = 0;
    connection.value = "live";
    hear();
    tell(EVERYTHING);
  });
  opened.addEventListener("refresh", (event) => {
    hear();
    // The first one is that look.
    if (!isFirst) {
      tell(JSON.parse(event.data) as Refresh);
    }
    isFirst = false;
  });
  // It is opened anew from here: browsers differ in whether and when they do that by themselves.
  opened.addEventListener("error", () => {
    close();
    refusals += 1;
    check();
  });
}

function close(): void {
  clearTimeout(again);
  again = undefined;
  stream?.close();
  stream = null;
}

function later(what: () => void, ms: number): void {
  clearTimeout(again);
  again = setTimeout(() => {
    again = undefined;
    what();
  }, ms);
}

function hear(): void {
  heardAt.value = Date.now();
  lostAt.value = null;
}

function lose(): void {
  close();
  connection.value = "lost";
  if (lostAt.value === null) {
    lostAt.value = Date.now();
    // A little later, as clocks are rounded.
    setTimeout(tick, GRACE_MS + 50);
  }
  refusals = 0;
  later(check, AGAIN_MS);
}

/** Looks whether the service is well. A stream alone cannot show that it stands still. */
async function check(): Promise<void> {
  if (isChecking) {
    return;
  }
  isChecking = true;
  const isAnswered = await askHealth();
  isChecking = false;
  if (document.hidden) {
    return;
  }
  if (!isAnswered) {
    lose();
    return;
  }
  hear();
  if (connection.value === "lost") {
    connection.value = "connecting";
    open();
  } else if (stream === null && again === undefined) {
    openLater();
  } else if (stream !== null && connection.value === "polling") {
    poll();
  }
}

async function askHealth(): Promise<boolean> {
  const patience = connection.value === "lost" ? LOST_PATIENCE_MS : PATIENCE_MS;
  try {
    const answer = await fetch("/health", { signal: AbortSignal.timeout(patience) });
    health.value = (await answer.json()) as Health;
    return true;
  } catch {
    return false;
  }
}

/** A stream that was cut is opened at once; while all places are taken, less and less often. */
function openLater(): void {
  if (refusals > 1) {
    poll();
  }
  later(open, Math.min(Math.max(refusals - 1, 0) * AGAIN_MS, CHECK_MS));
}

/** Without a stream all is looked at now and then. */
function poll(): void {
  connection.value = "polling";
  tell(EVERYTHING);
}

function tick(): void {
  now.value = Date.now();
}

/**
 * Follows the service while the page can be seen: a stream takes one of the few connections that a
 * browser makes to one server, over all of its windows.
 */
export function follow(): void {
  let timers: ReturnType<typeof setInterval>[] = [];
  const resume = () => {
    tick();
    open();
    check();
    timers = [setInterval(check, CHECK_MS), setInterval(tickAwake, TICK_MS)];
  };
  const pause = () => {
    timers.forEach(clearInterval);
    close();
  };
  document.addEventListener("visibilitychange", () => {
    pause();
    if (!document.hidden) {
      resume();
    }
  });
  if (!document.hidden) {
    resume();
  }
}

function tickAwake(): void {
  const isLate = Date.now() - now.value > 3 * TICK_MS;
  tick();
  // The machine slept: nobody knows whether the stream lives on.
  if (isLate && connection.value !== "lost") {
    open();
  }
}
