// Which agents are read, from where, and how well.

import { useApi } from "../api";
import { ago, bytes, count, counted, tokens } from "../format";
import { now } from "../live";
import { Cost, Nothing, Refusal, Section } from "../parts/basics";
import type { Providers as Answer, Provider } from "../types";

export function Providers() {
  const { data, problem } = useApi<Answer>("/api/v1/providers");
  const isFound = (provider: Provider) => provider.state === "found";
  const found = data?.rows.filter(isFound) ?? [];
  const others = data?.rows.filter((provider) => !isFound(provider)) ?? [];
  return (
    <>
      {problem && <Refusal problem={problem} />}
      {data && found.length === 0 && (
        <Nothing title="No agent logs found">
          <p>
            Use one of your coding agents: its calls are shown here a moment later. If its logs are
            kept elsewhere, name their folder in the configuration (<code>[providers.NAME]</code>,{" "}
            <code>roots</code>), or set the agent's own variable for the service, too.
          </p>
        </Nothing>
      )}
      <div class="providers">
        {found.map((provider) => (
          <Found key={provider.provider} provider={provider} />
        ))}
      </div>
      {others.length > 0 && (
        <Section title={found.length === 0 ? "Looked in" : "Not found on this machine"}>
          <ul class="others">
            {others.map((provider) => (
              <li key={provider.provider} data-key={provider.provider}>
                <span>
                  {provider.provider}
                  {provider.state !== "not found" && <span class="muted"> {provider.state}</span>}
                </span>
                <Roots of={provider} isOpen={found.length === 0} />
              </li>
            ))}
          </ul>
        </Section>
      )}
    </>
  );
}

function Found({ provider }: { provider: Provider }) {
  const faults = Object.entries(provider.skips);
  const concerns = [
    [provider.failing, "cannot be read"],
    [provider.degraded, "mostly unreadable"],
    [provider.missing, "deleted by the agent; what was counted stays"],
  ] as const;
  return (
    <Section
      title={provider.provider}
      aside={
        <span class="muted">
          {provider.newest_ts
            ? `newest call ${ago(now.value - Date.parse(provider.newest_ts))}`
            : "no call yet"}
        </span>
      }
    >
      <p class="amount" data-figure={provider.provider}>
        <Cost of={provider} />
      </p>
      <dl>
        <dt>calls</dt>
        <dd>{count(provider.message_count)}</dd>
        <dt>prompts</dt>
        <dd>{count(provider.user_message_count)}</dd>
        <dt>tokens</dt>
        <dd>{tokens(provider.total_tokens)}</dd>
        {provider.unpriced_count > 0 && (
          <>
            <dt>unpriced calls</dt>
            <dd class="unpriced">{count(provider.unpriced_count)}</dd>
          </>
        )}
        <dt>figures</dt>
        <dd>{provider.quality.map(({ description }) => description).join(", ") || "-"}</dd>
        <dt>sources</dt>
        <dd>{count(provider.sources)}</dd>
        {concerns.map(([n, what]) =>
          n > 0 ? (
            <>
              <dt>of these</dt>
              <dd class={what.startsWith("deleted") ? "" : "warn"}>
                {count(n)} {what}
              </dd>
            </>
          ) : null,
        )}
        <dt>unread</dt>
        <dd>{bytes(provider.unread_bytes)}</dd>
        <dt>skipped</dt>
        <dd>
          {faults.length === 0
            ? "nothing"
            : faults.map(([reason, n]) => `${count(n)} ${reason.replaceAll("_", " ")}`).join(", ")}
        </dd>
      </dl>
      <Roots of={provider} />
    </Section>
  );
}

/** The folders that were found, and in how many more logs are awaited. */
function Roots({ of, isOpen = false }: { of: Provider; isOpen?: boolean }) {
  const awaited = of.roots.filter(({ state }) => state.includes("awaited"));
  const others = of.roots.filter((root) => !awaited.includes(root));
  return (
    <div class="roots">
      {others.map(({ path, state }) => (
        <p key={path}>
          <bdi>{path}</bdi>
          {state !== "found" && <span class="warn"> {state}</span>}
        </p>
      ))}
      {awaited.length > 0 && (
        <details open={isOpen}>
          <summary class="muted">
            {counted(awaited.length, others.length > 0 ? "more place" : "place")} looked in
          </summary>
          {awaited.map(({ path }) => (
            <p key={path}>
              <bdi>{path}</bdi>
            </p>
          ))}
        </details>
      )}
    </div>
  );
}
