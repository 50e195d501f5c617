// One session: its calls over time.

import { useEffect, useRef } from "preact/hooks";
import { type Answer, askAgain, path, useApi } from "../api";
import { clock, count, counted, moment, tokens } from "../format";
import { Cost, Link, Name, Nothing, Project, Refusal, Section, TokenKinds } from "../parts/basics";
import { CallCost } from "../parts/calls";
import { Timeline } from "../parts/timeline";
import { Gap, useVisible } from "../parts/virtual";
import { today, zone } from "../today";
import type { Call, Figures, Page, Session } from "../types";

/** The most rows of one answer: longer sessions show their newest calls. */
const MOST = 5000;

export function SessionView({ session }: { session: string }) {
  const [provider, id] = split(session);
  const { data, problem } = useCalls(provider, id);
  const rows = data?.rows.filter((row) => row.provider === provider && row.session_id === id);
  if (problem && problem.code !== "unknown_value") {
    return <Refusal problem={problem} />;
  }
  if (problem || rows?.length === 0) {
    return (
      <Nothing title="There is no such session">
        <Link to={{ view: "sessions" }}>All sessions</Link>
      </Nothing>
    );
  }
  const [newest, oldest] = [rows?.[0], rows?.at(-1)];
  if (!rows || !newest || !oldest) {
    return null;
  }
  const calls = rows.filter(({ role }) => role === "assistant");
  const sum = total(calls);
  const prompts = rows.length - calls.length;
  return (
    <>
      <Section
        title="Session"
        aside={
          <Link to={{ view: "sessions" }} class="quiet">
            all sessions
          </Link>
        }
      >
        <p class="amount" data-figure="session">
          <Cost of={sum} />
        </p>
        <p>
          <Project path={oldest.project_path} /> with <Name>{provider}</Name>,{" "}
          {moment(oldest.ts, zone.value)} to {moment(newest.ts, zone.value)}
        </p>
        <p class="muted">
          {counted(calls.length, "call")}, {counted(prompts, "prompt")}, {tokens(sum.total_tokens)}{" "}
          tokens: <TokenKinds of={sum} />
        </p>
        <p class="muted">
          <bdi class="path">{id}</bdi>
        </p>
        {data?.next_cursor && (
          <p class="warn">Only the newest {count(rows.length)} calls and prompts are shown.</p>
        )}
      </Section>
      <Section title="Cost over time">
        <Timeline calls={calls} />
      </Section>
      <Calls calls={calls} />
    </>
  );
}

/** A session that so many others have overtaken has got no call since. */
const LATEST = 20;

/** The calls of a session, asked anew only once its own row has changed: other sessions work, too. */
function useCalls(provider: string, id: string): Answer<Page<Call>> {
  const latest = useApi<Page<Session>>(
    path("/api/v1/marts/session", { provider, order: "-last_ts", limit: LATEST }),
  );
  const question = path("/api/v1/events", { provider, session: id, limit: MOST });
  // Not before the row is known, or what comes between would be missed.
  const calls = useApi<Page<Call>>(latest.data ? question : null, false);
  const row = latest.data?.rows.find(({ session_id }) => session_id === id);
  const state = latest.data && JSON.stringify(row ?? null);
  const before = useRef<string>(undefined);
  useEffect(() => {
    if (before.current !== undefined) {
      askAgain(question);
    }
    before.current = state;
  }, [state]);
  return latest.problem ? { data: undefined, problem: latest.problem } : calls;
}

/** `provider/id`; an id may have a slash itself. */
function split(session: string): [string, string] {
  const at = session.indexOf("/");
  return [session.slice(0, at), session.slice(at + 1)];
}

export function total(calls: Call[]): Figures {
  const sum: Figures = {
    message_count: calls.length,
    input_tokens: 0,
    output_tokens: 0,
    cache_read_tokens: 0,
    cache_create_tokens: 0,
    total_tokens: 0,
    cost_nanousd: 0,
    unpriced_count: 0,
  };
  for (const call of calls) {
    sum.input_tokens += call.input_tokens;
    sum.output_tokens += call.output_tokens;
    sum.cache_read_tokens += call.cache_read_tokens;
    sum.cache_create_tokens += call.cache_create_tokens;
    sum.cost_nanousd += call.cost_nanousd ?? 0;
    sum.unpriced_count += call.cost_nanousd === null ? 1 : 0;
  }
  sum.total_tokens =
    sum.input_tokens + sum.output_tokens + sum.cache_read_tokens + sum.cache_create_tokens;
  return sum;
}

function Calls({ calls }: { calls: Call[] }) {
  const body = useRef<HTMLTableSectionElement>(null);
  const { first, end } = useVisible(body, calls.length);
  return (
    <Section title="Calls" aside={<span class="muted">the newest first</span>}>
      <div class="scroll">
        <table aria-label="Calls of the session" class="long" aria-rowcount={calls.length + 1}>
          <thead>
            <tr>
              <th scope="col" style={{ width: "var(--when)" }}>
                time
              </th>
              <th scope="col">model</th>
              <th scope="col" class="number needs-whole">
                input
              </th>
              <th scope="col" class="number needs-whole">
                cache write
              </th>
              <th scope="col" class="number needs-half">
                cache read
              </th>
              <th scope="col" class="number needs-half">
                output
              </th>
              <th scope="col" class="number" style={{ width: "84px" }}>
                cost
              </th>
            </tr>
          </thead>
          <tbody ref={body}>
            <Gap rows={first} />
            {calls.slice(first, end).map((call, index) => (
              <tr key={call.id} data-key={call.id} aria-rowindex={first + index + 2}>
                <td>
                  {call.day === today.value
                    ? clock(call.ts, zone.value)
                    : moment(call.ts, zone.value)}
                </td>
                <td>
                  <Name>{call.model}</Name>
                  {call.is_sidechain === 1 && <span class="muted"> subagent</span>}
                </td>
                <td class="number needs-whole">{tokens(call.input_tokens)}</td>
                <td class="number needs-whole">{tokens(call.cache_create_tokens)}</td>
                <td class="number needs-half">{tokens(call.cache_read_tokens)}</td>
                <td class="number needs-half">{tokens(call.output_tokens)}</td>
                <td class="number">
                  <CallCost of={call} />
                </td>
              </tr>
            ))}
            <Gap rows={calls.length - end} />
          </tbody>
        </table>
      </div>
    </Section>
  );
}
