// The latest calls, as they come.

import { useRef } from "preact/hooks";
import { filtered, path, useApi } from "../api";
import { clock, moment, tokens } from "../format";
import { place } from "../place";
import { today, zone } from "../today";
import type { Call, Page } from "../types";
import { Link, Name, Project, Section } from "./basics";
import { CallCost } from "./calls";

const SHOWN = 15;

export function Feed() {
  // Prompts are rows, too: some more are asked for than are shown.
  const { data } = useApi<Page<Call>>(
    path("/api/v1/events", { ...filtered(place.value.filters), limit: 3 * SHOWN }),
  );
  const calls = data?.rows.filter((row) => row.role === "assistant").slice(0, SHOWN) ?? [];
  // What was there before is no news.
  const first = useRef<number>(undefined);
  first.current ??= data && (calls[0]?.id ?? 0);
  if (data && calls.length === 0) {
    return null;
  }
  return (
    <Section title="Latest calls">
      <div class="scroll">
        <table aria-label="Latest calls" class="feed">
          <thead>
            <tr>
              <th scope="col">time</th>
              <th scope="col">project</th>
              <th scope="col" class="needs-whole">
                agent
              </th>
              <th scope="col">model</th>
              <th scope="col" class="number needs-whole">
                input
              </th>
              <th scope="col" class="number needs-half">
                cache
              </th>
              <th scope="col" class="number needs-half">
                output
              </th>
              <th scope="col" class="number">
                cost
              </th>
            </tr>
          </thead>
          <tbody>
            {calls.map((call) => (
              <tr
                key={call.id}
                data-key={call.id}
                class={call.id > (first.current ?? call.id) ? "new" : undefined}
              >
                <td>
                  <Link to={{ view: "sessions", session: `${call.provider}/${call.session_id}` }}>
                    <Time of={call.ts} day={call.day} />
                  </Link>
                </td>
                <td>
                  <Project path={call.project_path} />
                </td>
                <td class="needs-whole">
                  <Name>{call.provider}</Name>
                </td>
                <td>
                  <Name>{call.model}</Name>
                </td>
                <td class="number needs-whole">{tokens(call.input_tokens)}</td>
                <td class="number needs-half">
                  {tokens(call.cache_read_tokens + call.cache_create_tokens)}
                </td>
                <td class="number needs-half">{tokens(call.output_tokens)}</td>
                <td class="number">
                  <CallCost of={call} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Section>
  );
}

function Time({ of, day }: { of: string; day: string }) {
  return <>{day === today.value ? clock(of, zone.value) : moment(of, zone.value)}</>;
}
