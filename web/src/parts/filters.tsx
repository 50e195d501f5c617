// Which days and whose usage: one choice for all views.

import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { path, useApi } from "../api";
import { isRangeName, RANGES, type Range, type RangeName } from "../days";
import { cost, folderName, shortDay } from "../format";
import { FILTERS, type FilterName, go, hasFilters, NO_FILTERS, place } from "../place";
import { days, today } from "../today";
import type { Report } from "../types";

export function FilterBar() {
  return (
    <section class="filters" aria-label="Days and filters">
      <Ranges />
      {(Object.keys(FILTERS) as FilterName[]).map((name) => (
        <Filter key={name} name={name} />
      ))}
      {hasFilters.value && (
        <button type="button" class="clear" onClick={() => go({ filters: NO_FILTERS })}>
          Clear filters
        </button>
      )}
    </section>
  );
}

function Ranges() {
  const { range } = place.value;
  const title = typeof range === "string" ? RANGES[range] : titleOf(range);
  return (
    <Menu title={title} label="Days" isSet={typeof range !== "string"}>
      {(close) => (
        <>
          <div class="options">
            {(Object.entries(RANGES) as [RangeName, string][]).map(([name, title]) => (
              <button
                key={name}
                type="button"
                aria-pressed={name === range}
                onClick={() => {
                  go({ range: name });
                  close();
                }}
              >
                {title}
              </button>
            ))}
          </div>
          <form
            class="days"
            onSubmit={(event) => {
              event.preventDefault();
              const form = new FormData(event.currentTarget);
              const [a, b] = [String(form.get("since")), String(form.get("until"))].sort();
              if (a && b) {
                go({ range: { since: a, until: b } });
                close();
              }
            }}
          >
            <label>
              from <input type="date" name="since" required value={days.value.since ?? ""} />
            </label>
            <label>
              to{" "}
              <input
                type="date"
                name="until"
                required
                value={days.value.until ?? today.value ?? ""}
              />
            </label>
            <button type="submit">Show these days</button>
          </form>
        </>
      )}
    </Menu>
  );
}

/** Days with their year, unless it is this one. */
function titleOf({ since, until }: Range): string {
  const year = today.value?.slice(0, 4);
  const isThisYear = since.slice(0, 4) === year && until.slice(0, 4) === year;
  const name = (of: string) => (isThisYear ? shortDay(of) : `${shortDay(of)} ${of.slice(0, 4)}`);
  return since === until ? name(since) : `${name(since)} to ${name(until)}`;
}

/** More than these are found by typing. */
const LISTED = 100;

function Filter({ name }: { name: FilterName }) {
  const chosen = place.value.filters[name];
  const shown = (value: string) => (name === "project" ? folderName(value) : value);
  const title =
    chosen.length === 0
      ? `All ${FILTERS[name].toLowerCase()}s`
      : chosen.length === 1
        ? shown(chosen[0] ?? "")
        : `${chosen.length} ${FILTERS[name].toLowerCase()}s`;
  return (
    <Menu title={title} label={FILTERS[name]} isSet={chosen.length > 0}>
      {() => <Values name={name} shown={shown} />}
    </Menu>
  );
}

/** All there are, the most expensive first. */
function Values({ name, shown }: { name: FilterName; shown: (value: string) => string }) {
  const search = useSignal("");
  const { data } = useApi<Report>(
    path("/api/v1/report", { by: name, order: "-cost_nanousd", limit: 5000 }),
  );
  const list = useRef<HTMLUListElement>(null);
  const isLoaded = data !== undefined;
  useEffect(() => {
    // The panel opened before there was anything in it to go to.
    const panel = list.current?.parentElement;
    if (isLoaded && !panel?.contains(document.activeElement)) {
      panel?.querySelector("input")?.focus();
    }
  }, [isLoaded]);
  const chosen = place.value.filters[name];
  const wanted = search.value.toLowerCase();
  const rows = data?.rows ?? [];
  const matching = rows.filter((row) => (row[name] ?? "").toLowerCase().includes(wanted));
  const toggle = (value: string) => {
    const next = chosen.includes(value)
      ? chosen.filter((one) => one !== value)
      : [...chosen, value];
    go({ filters: { ...place.value.filters, [name]: next } });
  };
  return (
    <>
      {rows.length > 8 && (
        <input
          type="search"
          placeholder="Search"
          aria-label={`Search ${name}s`}
          value={search.value}
          onInput={(event) => {
            search.value = event.currentTarget.value;
          }}
        />
      )}
      <ul class="values" ref={list}>
        {matching.slice(0, LISTED).map((row) => {
          const value = row[name] ?? "";
          return (
            <li key={value}>
              <label title={value}>
                <input
                  type="checkbox"
                  checked={chosen.includes(value)}
                  onChange={() => toggle(value)}
                />
                <bdi class="name">{shown(value)}</bdi>
                <span class="number muted">{cost(row.cost_nanousd, row.unpriced_count)}</span>
              </label>
            </li>
          );
        })}
      </ul>
      {matching.length > LISTED && (
        <p class="muted">{matching.length - LISTED} more: type a part of the name</p>
      )}
      {data && matching.length === 0 && <p class="muted">Nothing by that name</p>}
      {matching.length > 0 && <p class="muted note">with the cost of all time</p>}
    </>
  );
}

/** A button that opens a panel; the escape key and a click elsewhere close it. */
function Menu(props: {
  title: string;
  label: string;
  isSet: boolean;
  children: (close: () => void) => preact.ComponentChildren;
}) {
  const { title, label, isSet, children } = props;
  const isOpen = useSignal(false);
  const menu = useRef<HTMLDivElement>(null);
  const button = useRef<HTMLButtonElement>(null);
  const close = () => {
    isOpen.value = false;
    button.current?.focus();
  };
  useEffect(() => {
    if (!isOpen.value) {
      return;
    }
    menu.current?.querySelector<HTMLElement>(".panel input, .panel button")?.focus();
    const outside = (event: Event) => {
      if (!menu.current?.contains(event.target as Node)) {
        isOpen.value = false;
      }
    };
    const onEscape = (event: KeyboardEvent) => {
      if (event.key === "Escape") {
        event.stopPropagation();
        close();
      }
    };
    document.addEventListener("pointerdown", outside);
    document.addEventListener("focusin", outside);
    document.addEventListener("keydown", onEscape);
    return () => {
      document.removeEventListener("keydown", onEscape);
      document.removeEventListener("pointerdown", outside);
      document.removeEventListener("focusin", outside);
    };
  }, [isOpen.value]);
  return (
    <div class="menu" ref={menu}>
      <button
        type="button"
        ref={button}
        class={isSet ? "set" : ""}
        aria-expanded={isOpen.value}
        aria-label={`${label}: ${title}`}
        title={title}
        onClick={() => {
          isOpen.value = !isOpen.value;
        }}
      >
        <bdi class="name">{title}</bdi>
      </button>
      {isOpen.value && <div class="panel">{children(close)}</div>}
    </div>
  );
}

export function rangeOfKey(key: string): RangeName | undefined {
  const keys: Record<string, string> = {
    t: "today",
    w: "7d",
    d: "30d",
    m: "month",
    q: "90d",
    y: "year",
    a: "all",
  };
  const name = keys[key];
  return name !== undefined && isRangeName(name) ? name : undefined;
}
