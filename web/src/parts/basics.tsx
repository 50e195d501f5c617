// Small parts that all views are made of.

import type { ComponentChildren } from "preact";
import { counted, folderName, money, percent, tokens } from "../format";
import { go, linkTo, NO_FILTERS, type Place, place } from "../place";
import type { Figures, Problem } from "../types";

/** A link within the page; the browser's own ways with links stay. */
export function Link(props: {
  to: Partial<Place>;
  children: ComponentChildren;
  class?: string;
  title?: string;
  current?: boolean;
}) {
  const { to, children, current, ...rest } = props;
  return (
    <a
      {...rest}
      href={linkTo(to)}
      aria-current={current ? "page" : undefined}
      onClick={(event) => {
        if (!event.ctrlKey && !event.metaKey && !event.shiftKey && event.button === 0) {
          event.preventDefault();
          go(to);
        }
      }}
    >
      {children}
    </a>
  );
}

/** A part of a view under its heading. */
export function Section(props: {
  title: string;
  aside?: ComponentChildren;
  children: ComponentChildren;
  class?: string;
}) {
  const id = `section-${props.title.toLowerCase().replace(/\W+/g, "-")}`;
  return (
    <section class={`card ${props.class ?? ""}`} aria-labelledby={id}>
      <header>
        <h2 id={id}>{props.title}</h2>
        {props.aside}
      </header>
      {props.children}
    </section>
  );
}

/** What some usage costs; the cost of calls without a known price is never shown as nothing. */
export function Cost({ of }: { of: Pick<Figures, "cost_nanousd" | "unpriced_count"> }) {
  if (of.unpriced_count === 0) {
    return <>{money(of.cost_nanousd)}</>;
  }
  const calls = counted(of.unpriced_count, "call");
  return (
    <span title={`No price is known for ${calls} of these`}>
      {of.cost_nanousd > 0 && money(of.cost_nanousd)}
      <span class="unpriced">{of.cost_nanousd > 0 ? " + ?" : "unpriced"}</span>
    </span>
  );
}

/** A project by the name of its folder; the whole path is told on asking. */
export function Project({ path }: { path: string | null }) {
  if (path === null || path === "") {
    return <span class="muted">no folder</span>;
  }
  return (
    <bdi class="name" title={path}>
      {folderName(path)}
    </bdi>
  );
}

export function Name({ children }: { children: string | null | undefined }) {
  return (
    <bdi class="name" title={children ?? ""}>
      {children ?? "-"}
    </bdi>
  );
}

/** How much of a whole something is, as a bar before its figure. */
export function Share({ of, children }: { of: number; children: ComponentChildren }) {
  return (
    <span class="share">
      <span class="bar">
        <i style={{ width: `${Math.min(Math.max(of, 0), 1) * 100}%` }} />
      </span>
      <span class="figure">{children}</span>
    </span>
  );
}

/** How much of a budget is used, and where it leads to. */
export function Meter({ share, label }: { share: number; label: string }) {
  const level = share > 1 ? "over" : share > 0.8 ? "near" : "";
  return (
    <div
      class={`meter ${level}`}
      role="meter"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={Math.min(Math.round(share * 100), 100)}
      aria-valuetext={percent(share)}
    >
      <i style={{ width: `${Math.min(share, 1) * 100}%` }} />
    </div>
  );
}

/** Why nothing is shown, and what to do about it. */
export function Nothing({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="nothing">
      <strong>{title}</strong>
      {children}
    </div>
  );
}

/** No calls in the days or filters that are looked at. */
export function NoCalls() {
  const isAll = place.value.range === "all";
  return (
    <Nothing title="No calls here">
      <p>
        Nothing was used in these days with these filters.{" "}
        <Link to={{ range: "all", filters: NO_FILTERS }}>
          {isAll ? "Clear the filters" : "Show all days, without filters"}
        </Link>
      </p>
    </Nothing>
  );
}

export function Refusal({ problem }: { problem: Problem }) {
  if (problem.code === "starting") {
    return (
      <Nothing title="The service is starting">
        <p>Its database is being opened; this page goes on by itself.</p>
      </Nothing>
    );
  }
  if (problem.code === "unknown_value") {
    // The rest of it is for those who ask by hand.
    const [said] = problem.detail.split(";");
    return (
      <Nothing title="No calls here">
        <p>
          <bdi>{said}</bdi>
        </p>
        <p>
          <Link to={{ range: "30d", filters: NO_FILTERS }}>Clear the filters</Link>
        </p>
      </Nothing>
    );
  }
  return (
    <Nothing title="This cannot be answered">
      <p>
        <bdi>{problem.detail}</bdi>
      </p>
      <p>
        <Link to={{ range: "30d", filters: NO_FILTERS }}>Clear the filters</Link>
      </p>
    </Nothing>
  );
}

/** Tokens by their kind, in one line. */
export function TokenKinds({ of }: { of: Figures }) {
  const kinds = [
    ["input", of.input_tokens],
    ["output", of.output_tokens],
    ["cache write", of.cache_create_tokens],
    ["cache read", of.cache_read_tokens],
  ] as const;
  return (
    <span class="kinds">
      {kinds.map(([name, n]) => (
        <span key={name}>
          {name} <b>{tokens(n)}</b>
        </span>
      ))}
    </span>
  );
}
