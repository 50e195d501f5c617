// The sessions that work right now.

import { filtered, path, useApi } from "../api";
import { ago, counted, tokens } from "../format";
import { now } from "../live";
import { place } from "../place";
import type { Page, Session } from "../types";
import { Cost, Link, Name, Nothing, Project, Section } from "./basics";

/** A session without a call for this long is not at work. */
const RECENT_MS = 10 * 60_000;
const SHOWN = 6;

export function Running() {
  const { data } = useApi<Page<Session>>(
    path("/api/v1/marts/session", {
      ...filtered(place.value.filters),
      order: "-last_ts",
      limit: SHOWN,
    }),
  );
  if (!data) {
    return <Section title="Running now">{null}</Section>;
  }
  const recent = data.rows.filter(({ last_ts }) => now.value - Date.parse(last_ts) < RECENT_MS);
  return (
    <Section
      title="Running now"
      aside={
        <Link to={{ view: "sessions" }} class="quiet">
          all sessions
        </Link>
      }
    >
      {recent.length === 0 && (
        <Nothing title="No session in the last ten minutes">
          {data.rows[0] && (
            <p>The latest call was {ago(now.value - Date.parse(data.rows[0].last_ts))}.</p>
          )}
        </Nothing>
      )}
      <ul class="running">
        {recent.map((session) => (
          <li key={`${session.provider}/${session.session_id}`}>
            <i class="pulse" />
            <Link to={{ view: "sessions", session: `${session.provider}/${session.session_id}` }}>
              <Project path={session.cwd} />
            </Link>
            <span class="amount">
              <Cost of={session} />
            </span>
            <span class="muted">
              <Name>{session.primary_model}</Name>, {counted(session.message_count, "call")},{" "}
              {tokens(session.output_tokens)} out
            </span>
            <span class="muted number">{ago(now.value - Date.parse(session.last_ts))}</span>
          </li>
        ))}
      </ul>
    </Section>
  );
}
