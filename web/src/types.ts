// What the API answers, as far as the page uses it. docs/openapi.json describes all of it.

/** Sums over calls. Money is in 1e-9 USD; calls without a known price are not in it. */
export interface Figures {
  message_count: number;
  input_tokens: number;
  output_tokens: number;
  cache_read_tokens: number;
  cache_create_tokens: number;
  total_tokens: number;
  cost_nanousd: number;
  unpriced_count: number;
}

export interface Period extends Figures {
  since: string;
  until: string;
}

/** A five-hour window of a subscription. */
export interface Block extends Figures {
  start_ts: string;
  end_ts: string;
  cost_usd_per_hour: number | null;
  projected_cost_nanousd: number | null;
}

export interface Budget {
  name: string;
  period: "day" | "month";
  provider: string | null;
  project: string | null;
  budget_nanousd: number;
  used_nanousd: number;
  used_share: number;
  projected_nanousd: number | null;
  unpriced_count: number;
  is_unknown: boolean;
}

export interface Summary {
  /** Today, in `time_zone`. */
  day: string;
  time_zone: string;
  today: Period;
  last_7_days: Period;
  last_30_days: Period;
  month: Period;
  block: Block | null;
  budgets: Budget[];
  /** What is being read while not all is counted yet. */
  reading: string | null;
}

export interface ReportRow extends Figures {
  day?: string;
  week?: string;
  month?: string;
  provider?: string;
  /** The folder. */
  project?: string;
  project_name?: string | null;
  model?: string;
}

export interface Report {
  rows: ReportRow[];
  total: Figures;
  /** How many rows there are, also beyond the limit. */
  groups: number;
}

export interface Session {
  provider: string;
  session_id: string;
  cwd: string | null;
  primary_model: string | null;
  first_ts: string;
  last_ts: string;
  message_count: number;
  user_message_count: number;
  input_tokens: number;
  output_tokens: number;
  cache_read_tokens: number;
  cache_create_tokens: number;
  cost_nanousd: number;
  unpriced_count: number;
}

export interface Call {
  id: number;
  provider: string;
  project_path: string;
  session_id: string;
  ts: string;
  ts_ms: number;
  day: string;
  role: "assistant" | "user";
  model: string | null;
  input_tokens: number;
  output_tokens: number;
  cache_read_tokens: number;
  cache_create_tokens: number;
  /** Null where no price is known. */
  cost_nanousd: number | null;
  is_sidechain: number;
}

export interface Page<Row> {
  rows: Row[];
  next_cursor: string | null;
}

export interface Check {
  componentId?: string;
  observedValue: number | boolean | null;
  observedUnit: string;
  status: Verdict;
  output?: string;
  lastError?: string;
  lastErrorTime?: string;
}

export type Verdict = "pass" | "warn" | "fail";

export interface Health {
  status: Verdict;
  version: string;
  serviceId: string;
  notes?: string[];
  checks: Record<string, Check[]>;
}

/** One `refresh` of the stream. */
export interface Refresh {
  all_changed: boolean;
  dirty_days: string[];
}

/** A refusal, as `application/problem+json`. */
export interface Problem {
  status: number;
  code: string;
  detail: string;
}

/** An agent: where its logs are looked for, what was found, and how well it could be read. */
export interface Provider extends Figures {
  provider: string;
  state: string;
  quality: { id: string; description: string }[];
  roots: { path: string; state: string }[];
  sources: number;
  failing: number;
  degraded: number;
  missing: number;
  unread_bytes: number;
  newest_ts: string | null;
  /** Records that were not counted, by reason. */
  skips: Record<string, number>;
  user_message_count: number;
}

export interface Providers {
  rows: Provider[];
}
