/** What the management API takes and answers, as far as the dashboard uses it. */

import type { GatewayView } from './described';

export type { AlertView, BucketView, ChangeView, ConfigView, Exceeding, GatewayView, HistoryOutcome, JobView, MadeLink, MadeToken, NewConfig, NewPrice, NewRerating, NewToken, OwnPrice, Purged, RerateJob, Restored, RevisionView, SpendView, TestView, TokenView, TrailEntry, UserView } from './described';

export type Outcome =
  | 'answered'
  | 'refused'
  | 'failed'
  | 'client_left'
  | 'upstream_cut'
  | 'stopped'
  | 'overrun'
  | 'panicked';
export type Blame = 'client' | 'gateway' | 'upstream';
export type CacheStatus = 'hit' | 'miss' | 'bypass' | 'stale';
export type CostStatus = 'priced' | 'estimated' | 'custom' | 'free' | 'unpriced' | 'no_usage';
export type Omitted = 'payload_off' | 'too_large' | 'memory_limit' | 'expired' | 'deleted';
export type MetadataValue = string | number | boolean | null;

/** Tokens by kind: disjoint, so that their sum is the provider's total. Absent is 0. */
export interface Usage {
  input?: number;
  cache_read?: number;
  cache_write?: number;
  cache_write_1h?: number;
  audio_input?: number;
  audio_cache_read?: number;
  image_input?: number;
  output?: number;
  reasoning?: number;
  audio_output?: number;
  image_output?: number;
  images?: number;
  searches?: number;
  audio_ms?: number;
  characters?: number;
  estimated?: boolean;
}

/** Money is in nano-dollars; `null` is not known, and `status` says why. */
export interface Cost {
  status: CostStatus;
  nanousd: number | null;
  price?: string | null;
}

/** Microseconds since the head of the request was read. */
export interface Timing {
  queue_us: number;
  connect_us: number;
  ttfb_us?: number | null;
  ttft_us?: number | null;
  total_us: number;
  overhead_us: number;
}

export interface RowMessage {
  content_type: string | null;
  bytes: number;
  events: number;
  omitted: Omitted | null;
}

/** A record as lists see it: flat, and without bodies. */
export interface Row {
  id: string;
  event_id: string;
  created_at: string;
  account: string;
  gateway: string;
  provider: string | null;
  target: string | null;
  resource: string | null;
  deployment: string | null;
  operation: string;
  model_requested: string | null;
  model: string | null;
  method: string;
  path: string;
  status: number | null;
  outcome: Outcome;
  error: string | null;
  blame: Blame | null;
  attempts: number;
  step: number;
  timing: Timing;
  stream: boolean;
  usage: Usage | null;
  cost: Cost;
  cache: CacheStatus | null;
  saved: Saved | null;
  limit: string | null;
  verdict: string | null;
  finish_reason: string | null;
  metadata: Record<string, MetadataValue>;
  token: string | null;
  user_agent: string | null;
  /** What was said of it later: −1, 0 or 1, and 0 to 100. */
  feedback?: number | null;
  score?: number | null;
  request: RowMessage;
  response: RowMessage;
}

export interface Saved {
  tokens_in: number | null;
  tokens_out: number | null;
  nanousd: number | null;
  us: number;
}

export interface Attempt {
  target: string;
  step?: number;
  wait_us?: number;
  wait_reason?: string;
  status?: number;
  error?: string;
  cause?: string;
  cancelled_by?: string;
  started_us: number;
  connect_us: number;
  ttfb_us?: number;
  reused?: boolean;
  cost?: Cost;
}

export interface Decision {
  rule: string;
  bucket?: (string | null)[];
  unit: string;
  verdict: string;
  limit: number;
  before: number;
  reserved: number;
  charged: number;
  after: number;
  at: string;
}

export interface CacheUse {
  status: CacheStatus;
  key?: string;
  filled_by?: string;
  age_s?: number;
  joined?: boolean;
  saved?: { usage?: Usage; nanousd?: number; us: number };
  reason?: string;
  nearest?: string;
  differs?: string[];
  fill?: string;
}

/** One direction of an exchange; its body is asked for apart. */
export interface Message {
  content_type?: string;
  content_encoding?: string;
  bytes: number;
  omitted?: Omitted;
  chunk_times_us?: number[];
  events?: number;
}

/** A record as it stands in the journal, without its bodies. */
export interface Exchange {
  id: string;
  event_id?: string;
  created_at: string;
  account: string;
  gateway: string;
  provider?: string;
  target?: string;
  resource?: string;
  deployment?: string;
  operation: string;
  model_requested?: string;
  model?: string;
  method: string;
  path: string;
  http_version: string;
  status?: number;
  outcome: Outcome;
  error?: { code: string; blame: Blame; message: string };
  attempts?: Attempt[];
  timing: Timing;
  stream?: boolean;
  usage?: Usage;
  cost: Cost;
  cache?: CacheUse;
  limits?: Decision[];
  finish_reason?: string;
  provider_id?: string;
  metadata?: Record<string, MetadataValue>;
  token?: string;
  user_agent?: string;
  notes?: string[];
  request: Message;
  response: Message;
}

/** A time range: RFC 3339, the end not in it. */
export interface Span {
  since: string;
  until: string;
}

/** Which records: `gateway` null is all of the account's. */
export interface Scope extends Span {
  account: string;
  gateway: string | null;
  filter: string;
}

export interface ListQuery extends Scope {
  sort: string;
  ascending: boolean;
  after: string | null;
  limit: number;
}

export interface Listing {
  rows: Row[];
  /** Cursor of the next page; null on the last one. */
  next: string | null;
  complete: boolean;
}

/** `count`, `errors`, `cached`, `unpriced`, `estimated`; `sum:cost`, `max:ttft`, `p95:duration`. */
export type Measure = string;

export interface AggregateQuery extends Scope {
  by: string[];
  /** Length of a bucket in seconds; null: none. */
  every: number | null;
  measures: Measure[];
  /** Most groups; the rest is summed up in `other`. */
  top: number;
  order: number;
}

export interface Point {
  start: string;
  values: (number | null)[];
}

export interface Group {
  key: (string | null)[];
  values: (number | null)[];
  points: Point[];
}

export interface Answer {
  groups: Group[];
  other: Group | null;
  total: Group;
  group_count: number;
  is_approximate: boolean;
  is_complete: boolean;
}

export interface Link {
  purpose: 'setup' | 'invitation' | 'password';
  name: string | null;
  account: string | null;
  role: string | null;
  expires_at: string;
}

export interface Session {
  user: { name: string; role: string };
  /** Goes with every change, in `x-csrf-token`. */
  csrf: string;
  accounts: string[];
  /** Where applications reach the gateway. */
  data_url: string;
  version: string;
}

/** A price in force; a rate is US dollars, as a text of decimals, for so many. */
export interface PriceView {
  provider: string;
  model: string;
  /** What records name it by. */
  price: string;
  /** A page, or `configured`. */
  source: string;
  effective_from?: string | null;
  rates: Record<string, { usd: string; per: number }>;
}

/** A gateway, and its settings that Cloudflare has fields for. */
export type Gateway = GatewayView;

/** Keys of `[[gateways]]`, as JSON: those that the dashboard knows, and all others. */
export type OwnSettings = Record<string, unknown>;

/** How a target is; counts are of about the last ten seconds. */
export interface TargetView {
  account: string;
  gateway: string;
  target: string;
  circuit: 'closed' | 'open' | 'half_open';
  rest_ms: number;
  benched_ms: number;
  in_flight: number;
  requests: number;
  retries: number;
  ttfb_p95_ms: number | null;
  stream_ttfb_p95_ms: number | null;
  remaining_requests: number | null;
  remaining_tokens: number | null;
}

export interface SavedView {
  id: string;
  name: string;
  /** Query part of the address of the page. */
  query: string;
}

/** What the store as a whole takes on the disk. */
export interface Storage {
  records: number;
  journal_bytes: number;
  index_bytes: number;
  column_bytes: number;
  rollup_bytes: number;
  overlay_bytes: number;
  torn_bytes: number;
  total_bytes: number;
  free_bytes: number;
  /** The latest 30 on which something was recorded, the oldest first. */
  days: { day: string; records: number; journal_bytes: number }[];
  /** By the last seven whole days; null: there is none yet. */
  bytes_per_day: number | null;
  days_left: number | null;
  /** Null: what is removed of its own accord makes room before. */
  full_at: string | null;
  retention: { max_bytes: number | null; max_age_s: number | null; max_body_age_s: number | null };
}
