// Questions to the service, kept up to date while somebody looks at their answers.

import { type Signal, signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { isThere, onRefresh } from "./live";
import { FILTERS, type Filters, type Place } from "./place";
import type { Problem, Refresh } from "./types";

/** Between two times of asking the same while its answer keeps changing. */
const GAP_MS = 250;
export const AGAIN_MS = 1_000;
/** A connection that died in silence would be waited for without end. */
const PATIENCE_MS = 10_000;
/** Answers kept of questions that nobody asks any more, for who comes back to them. */
const KEPT = 40;

export interface Answer<T> {
  data: T | undefined;
  /** Why there is no newer answer. */
  problem: Problem | undefined;
}

/** An answer as JSON. The browser has it checked by its entity tag, so an unchanged one costs little. */
export async function ask<T>(path: string): Promise<T> {
  const answer = await fetch(path, { signal: AbortSignal.timeout(PATIENCE_MS) });
  const document = await answer.json();
  if (!answer.ok) {
    throw new Refused(document as Problem);
  }
  return document as T;
}

export class Refused extends Error {
  constructor(readonly problem: Problem) {
    super(problem.detail);
  }
}

/** A path with its parameters; those that are undefined are left out. */
export function path(
  of: string,
  parameters: Record<string, string | number | readonly string[] | undefined>,
): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    for (const one of value === undefined ? [] : [value].flat()) {
      query.append(name, String(one));
    }
  }
  const search = query.toString();
  return search === "" ? of : `${of}?${search}`;
}

/** Filters as parameters. */
export function filtered(filters: Filters, only = Object.keys(FILTERS)): Partial<Filters> {
  return Object.fromEntries(Object.entries(filters).filter(([name]) => only.includes(name)));
}

class Question {
  readonly answer: Signal<Answer<unknown>> = signal({ data: undefined, problem: undefined });
  private users = 0;
  private isAsking = false;
  private isOutdated = true;
  private askedAt = Number.NEGATIVE_INFINITY;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private readonly since: string | null;
  private readonly until: string | null;

  constructor(
    private readonly path: string,
    private readonly isFollowing: boolean,
  ) {
    const query = new URL(path, location.origin).searchParams;
    this.since = query.get("since");
    this.until = query.get("until");
  }

  get isUsed(): boolean {
    return this.users > 0;
  }

  /** Keeps the answer up to date until the returned function is called. */
  use(): () => void {
    this.users += 1;
    this.update();
    return () => {
      this.users -= 1;
    };
  }

  outdate(refresh: Refresh): void {
    const isWithin = (day: string) =>
      (this.since === null || day >= this.since) && (this.until === null || day <= this.until);
    if (refresh.all_changed || (this.isFollowing && refresh.dirty_days.some(isWithin))) {
      this.askAgain();
    }
  }

  askAgain(olderThanMs = 0): void {
    if (performance.now() - this.askedAt >= olderThanMs) {
      this.isOutdated = true;
      this.update();
    }
  }

  private update(): void {
    // Once the service is there, all of them are told.
    if (!this.isUsed || !this.isOutdated || this.isAsking || !isThere.peek()) {
      return;
    }
    clearTimeout(this.timer);
    const wait = this.askedAt + GAP_MS - performance.now();
    if (wait > 0) {
      this.timer = setTimeout(() => this.update(), wait);
      return;
    }
    this.ask();
  }

  private async ask(): Promise<void> {
    this.isAsking = true;
    this.isOutdated = false;
    this.askedAt = performance.now();
    try {
      this.answer.value = { data: await ask(this.path), problem: undefined };
    } catch (error) {
      // Without an answer what is shown stays; the connection's own state says why.
      const problem = error instanceof Refused ? error.problem : undefined;
      this.answer.value = { data: this.answer.peek().data, problem };
      if (problem === undefined || problem.status === 503) {
        this.isOutdated = true;
        this.askedAt = performance.now() + AGAIN_MS - GAP_MS;
      }
    } finally {
      this.isAsking = false;
    }
    this.update();
  }
}

const questions = new Map<string, Question>();

onRefresh((refresh) => {
  for (const question of questions.values()) {
    question.outdate(refresh);
  }
});

function question(path: string, isFollowing: boolean): Question {
  const known = questions.get(path);
  // The order of the map is that of the latest use.
  questions.delete(path);
  const one = known ?? new Question(path, isFollowing);
  questions.set(path, one);
  if (!known && questions.size > KEPT) {
    const unused = [...questions].filter(([key, other]) => key !== path && !other.isUsed);
    for (const [key] of unused.slice(0, questions.size - KEPT)) {
      questions.delete(key);
    }
  }
  return one;
}

/** Asks anew for what no refresh tells of, if the last time is so long ago. */
export function askAgain(path: string, olderThanMs = 0): void {
  questions.get(path)?.askAgain(olderThanMs);
}

/**
 * The answer to this very question, always the newest, once there is one. If it does not follow what
 * changes day by day, whoever uses it has it asked anew.
 */
export function useAnswer<T>(path: string | null, isFollowing = true): Answer<T> {
  useEffect(() => (path === null ? undefined : question(path, isFollowing).use()), [path]);
  return path === null
    ? { data: undefined, problem: undefined }
    : (question(path, isFollowing).answer.value as Answer<T>);
}

/**
 * The answer to a question, always the newest. While another question is not answered yet, the
 * answer to the one before stands, so that nothing flickers.
 */
export function useApi<T>(path: string | null, isFollowing = true): Answer<T> {
  const before = useRef<T>(undefined);
  const { data, problem } = useAnswer<T>(path, isFollowing);
  if (data !== undefined) {
    before.current = data;
  }
  const isOpen = path === null || problem !== undefined;
  return { data: isOpen ? data : (data ?? before.current), problem };
}

/** The part of a place that says which usage is meant, as parameters. */
export function usage(place: Pick<Place, "filters">, days: { since?: string; until?: string }) {
  return { ...days, ...filtered(place.filters) };
}
