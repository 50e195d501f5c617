// The connection to the service: what it tells of changes, and whether it is there at all.

import { computed, signal } from "@preact/signals";
import type { Health, Refresh } from "./types";

/** How often the service is asked how it is; it costs it nothing. */
const CHECK_MS = 15_000;
/** What should take a millisecond and takes this long does not answer. */
const PATIENCE_MS = 5_000;
const AGAIN_MS = 1_000;
/** A restart is over before this; only then it is worth a word. */
const GRACE_MS = 1_500;

type Connection = "connecting" | "live" | "lost";

export const connection = signal<Connection>("connecting");
/** Since when nothing is heard of the service, by the browser's clock. */
export const lostSince = signal<number | null>(null);
export const health = signal<Health | null>(null);
/** Advances now and then, for what is told relative to now. */
export const now = signal(Date.now());

export const isOffline = computed(
  () => lostSince.value !== null && now.value - lostSince.value >= GRACE_MS,
);

const listeners = new Set<(refresh: Refresh) => void>();

/** Has `listener` told of every refresh, and of a return after an absence. */
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
let again: ReturnType<typeof setTimeout> | undefined;

function open(): void {
  close();
  const opened = new EventSource("/api/v1/stream");
  stream = opened;
  opened.addEventListener("open", found);
  // The first event says that all has changed: what was missed is loaded then.
  opened.addEventListener("refresh", (event) => {
    found();
    tell(JSON.parse(event.data) as Refresh);
  });
  opened.addEventListener("error", () => {
    lose();
    // Refused for good, as browsers see it; a service that starts refuses just for a moment.
    if (opened.readyState === EventSource.CLOSED) {
      openSoon();
    }
  });
}

function openSoon(): void {
  clearTimeout(again);
  again = setTimeout(open, AGAIN_MS);
}

function close(): void {
  clearTimeout(again);
  stream?.close();
  stream = null;
}

function found(): void {
  lostSince.value = null;
  if (connection.value !== "live") {
    connection.value = "live";
    check();
  }
}

function lose(): void {
  connection.value = "lost";
  if (lostSince.value === null) {
    lostSince.value = Date.now();
    setTimeout(tick, GRACE_MS);
  }
}

/** Looks whether the service is well. A stream alone cannot show that it stands still. */
async function check(): Promise<void> {
  try {
    const answer = await fetch("/health", { signal: AbortSignal.timeout(PATIENCE_MS) });
    health.value = (await answer.json()) as Health;
  } catch {
    lose();
    openSoon();
    return;
  }
  // It is there, and its stream is not: all places may be taken. Then this is how the page follows.
  if (connection.value === "lost") {
    lostSince.value = null;
    tell(EVERYTHING);
  }
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
    timers = [setInterval(check, CHECK_MS), setInterval(tick, 10_000)];
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
  resume();
}
