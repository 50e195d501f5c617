// What today cost, on what, whether it is more than usual, and what is running now.

import { path, usage, useApi } from "../api";
import { addDays } from "../days";
import { clock, cost, counted, minutes, money, percent, tokens } from "../format";
import { now } from "../live";
import {
  Cost,
  Link,
  Meter,
  Name,
  NoCalls,
  Project,
  Refusal,
  Section,
  Share,
} from "../parts/basics";
import { Feed } from "../parts/feed";
import { HeatMap } from "../parts/heatmap";
import { OverTime } from "../parts/overtime";
import { Running } from "../parts/running";
import { type FilterName, hasFilters, place, withFilter } from "../place";
import { days, zone } from "../today";
import type { Block, Budget, Period, Report, Summary } from "../types";
import { change, usual } from "../usual";

export function Overview({ summary }: { summary: Summary }) {
  const day = summary.day;
  const year = useApi<Report>(
    path("/api/v1/report", {
      by: "day",
      ...usage(place.value, { since: addDays(day, -370), until: day }),
      limit: 5000,
    }),
  ).data;
  // They are of all usage, or of their own part of it: beside other sums they would mislead.
  const budgets = (period: string) =>
    hasFilters.value ? null : summary.budgets.filter((budget) => budget.period === period);
  const isPriced = ({ cost_nanousd, unpriced_count }: Period) =>
    cost_nanousd > 0 || unpriced_count === 0;
  const block = summary.block && summary.block.message_count > 0 ? summary.block : null;
  return (
    <>
      <div class="cards">
        <PeriodCard title="Today" of={summary.today} range="today" isMain>
          {year && isPriced(summary.today) && (
            <Usual cost={summary.today.cost_nanousd} of={usual(year.rows, day)} />
          )}
          <Budgets all={budgets("day")} />
        </PeriodCard>
        <PeriodCard title="7 days" of={summary.last_7_days} range="7d">
          {year && isPriced(summary.last_7_days) && (
            <Change share={change(year.rows, day, 7)} days={7} />
          )}
        </PeriodCard>
        <PeriodCard title="30 days" of={summary.last_30_days} range="30d">
          {year && isPriced(summary.last_30_days) && (
            <Change share={change(year.rows, day, 30)} days={30} />
          )}
        </PeriodCard>
        <PeriodCard title="This month" of={summary.month} range="month">
          <Budgets all={budgets("month")} />
          {summary.budgets.length === 0 && (
            <p class="muted">
              no budget; <code>[[budgets]]</code> in the configuration sets one
            </p>
          )}
        </PeriodCard>
      </div>
      <OverTime />
      <div class="two">
        <Top title="Projects" by="project" />
        <Top title="Models" by="model" />
      </div>
      <div class="two">
        <Running />
        {block ? <RunningBlock block={block} /> : <Top title="Agents" by="provider" />}
      </div>
      {year && <HeatMap rows={year.rows} until={day} />}
      <Feed />
    </>
  );
}

function PeriodCard(props: {
  title: string;
  of: Period;
  range: "today" | "7d" | "30d" | "month";
  isMain?: boolean;
  children: preact.ComponentChildren;
}) {
  const { title, of, range, isMain, children } = props;
  return (
    <Section
      title={title}
      class={isMain ? "period main" : "period"}
      aside={
        <Link to={{ range }} class="quiet" title={`Look at ${title.toLowerCase()}`}>
          show
        </Link>
      }
    >
      <p class="amount" data-figure={range}>
        <Cost of={of} />
      </p>
      <p class="muted">
        {tokens(of.total_tokens)} tokens, {counted(of.message_count, "call")}
      </p>
      {children}
    </Section>
  );
}

/** How today stands beside other days. */
function Usual({ cost, of }: { cost: number; of: { cost: number; days: number } | null }) {
  if (!of) {
    return null;
  }
  const times = cost / of.cost;
  const title = `The median of the ${of.days} days with calls among the 28 before`;
  return (
    <p class="muted" title={title}>
      <b class={times > 1.5 ? "more" : ""}>
        {times < 9.95 ? times.toFixed(1) : Math.round(times)}×
      </b>{" "}
      a usual day ({money(of.cost)})
    </p>
  );
}

/** Of whole days: today, which is not over yet, would make it look like less. */
function Change({ share, days }: { share: number | null; days: number }) {
  if (share === null) {
    return null;
  }
  const sign = share >= 0 ? "+" : "−";
  return (
    <p class="muted">
      <b class={share > 0.5 ? "more" : ""}>
        {sign}
        {percent(Math.abs(share))}
      </b>{" "}
      on the {days} days before, up to yesterday
    </p>
  );
}

function Budgets({ all }: { all: Budget[] | null }) {
  return (
    <>
      {all?.map((budget) => (
        <div key={budget.name} class="budget">
          <Meter share={budget.used_share} label={`budget (${budget.name})`} />
          <p class="muted">
            {budget.provider || budget.project ? <bdi>{budget.name}: </bdi> : ""}
            {budget.is_unknown ? (
              "nothing was counted under this name yet"
            ) : (
              <Used budget={budget} />
            )}
          </p>
        </div>
      ))}
    </>
  );
}

function Used({ budget }: { budget: Budget }) {
  const { used_nanousd, budget_nanousd, projected_nanousd, unpriced_count } = budget;
  const isExceeded = used_nanousd > budget_nanousd;
  return (
    <>
      {isExceeded ? cost(used_nanousd, unpriced_count) : percent(budget.used_share)} of{" "}
      {money(budget_nanousd)}
      {isExceeded && <b class="more">, exceeded</b>}
      {projected_nanousd !== null && (
        <>
          , heading for{" "}
          <span class={projected_nanousd > budget_nanousd ? "more" : ""}>
            {money(projected_nanousd)}
          </span>
        </>
      )}
    </>
  );
}

/** What most was spent on in the days looked at. */
function Top({ title, by }: { title: string; by: FilterName }) {
  const { data, problem } = useApi<Report>(
    path("/api/v1/report", {
      by,
      ...usage(place.value, days.value),
      order: "-cost_nanousd",
      limit: 6,
    }),
  );
  const view = by === "project" ? "projects" : by === "model" ? "models" : "providers";
  const all = data?.total.cost_nanousd ?? 0;
  return (
    <Section
      title={title}
      aside={
        <Link to={{ view }} class="quiet">
          {data ? `all ${data.groups}` : "all"}
        </Link>
      }
    >
      {problem && <Refusal problem={problem} />}
      {data?.groups === 0 && <NoCalls />}
      <div class="scroll">
        <table aria-label={`${title} by cost`} class="top">
          <thead>
            <tr>
              <th scope="col">{title.slice(0, -1).toLowerCase()}</th>
              <th scope="col" class="number">
                tokens
              </th>
              <th scope="col" class="number">
                cost
              </th>
            </tr>
          </thead>
          <tbody>
            {data?.rows.map((row) => {
              const name = row[by] ?? "";
              return (
                <tr key={name} data-key={name}>
                  <td>
                    <Link to={{ filters: withFilter(by, name) }}>
                      {by === "project" ? <Project path={name} /> : <Name>{name}</Name>}
                    </Link>
                  </td>
                  <td class="number">{tokens(row.total_tokens)}</td>
                  <td class="number">
                    <Share of={all > 0 ? row.cost_nanousd / all : 0}>
                      <Cost of={row} />
                    </Share>
                  </td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
    </Section>
  );
}

function RunningBlock({ block }: { block: Block }) {
  const [start, end] = [Date.parse(block.start_ts), Date.parse(block.end_ts)];
  const left = Math.max(end - now.value, 0);
  const { provider } = place.value.filters;
  const agent = provider.length > 0 ? provider.join(", ") : "claude-code";
  return (
    <Section
      title={`Five-hour block of ${agent}`}
      aside={<span class="muted">until {clock(end, zone.value).slice(0, 5)}</span>}
    >
      <p class="amount" data-figure="block">
        <Cost of={block} />
      </p>
      <Meter share={1 - left / (end - start)} label="time of the block that has passed" />
      <p class="muted">
        {minutes(left / 60_000)} left
        {block.cost_usd_per_hour !== null && <>, {money(block.cost_usd_per_hour * 1e9)} an hour</>}
        {block.projected_cost_nanousd !== null && (
          <>, heading for {money(block.projected_cost_nanousd)}</>
        )}
      </p>
      <p class="muted">
        {tokens(block.total_tokens)} tokens, {counted(block.message_count, "call")}
      </p>
    </Section>
  );
}
