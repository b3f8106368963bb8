/** The types of the management API: made from its description by `npm run types`, not by hand. */

/** What a rule does. */
export type Action = 'FLAG' | 'BLOCK';

/** An alert, and how it stands. */
export type AlertView = StandingView & ({
  /** Of a limit: whether it is due already when the share will be drawn at this pace. */
  forecast: boolean;
  /** How its webhook is written to: `json` or `slack`. */
  format: string;
  /** The gateway that has it. */
  gateway: string;
  /** Its name, unique in the gateway. */
  id: string;
  /** The limit, where it watches one. */
  limit?: string | null;
  /** Who changes it: `file`, only the configuration file. */
  managed_by: string;
  /** Of requests: fewer than these say nothing. */
  min_requests?: number | null;
  /** Until when it is quiet; null: it is not. */
  muted_until?: string | null;
  /** Of `ttfb` and `duration`: what is late, in seconds. */
  over_s?: number | null;
  /** The share from which on it is due, in percent. */
  percent: number;
  /** Of requests: how long it is quiet after it was told, in seconds. */
  repeat_after_s?: number | null;
  /** What it watches: `limit`; of requests `error_rate`, `ttfb`, `duration` or `unpriced`. */
  watches: string;
  /** Of requests: those of so long are looked at, in seconds. */
  window_s?: number | null;
});

/** `groups`, `other`, `total`, `group_count`; whether percentiles are of histograms, and whether every record was counted. Times are microseconds, money is nano-dollars. */
export type AnswerView = Record<string, unknown> & {
  /** How much was counted: 0 to 1. */
  fraction: number;
};

/** A batch that is laid aside. */
export type AsideView = {
  /** When it was given up. */
  at: string;
  /** How long it is, packed. */
  bytes: number;
  /** Its number. */
  id: number;
  /** Whose it is, by the name of the export. */
  job: string;
  /** What it was to be called. */
  name: string;
  /** Why, in the destination's words. */
  why: string;
};

/** A query. */
export type Asked = {
  /** Passed over: a text has one query. */
  operationName?: string | null;
  /** `{ viewer { accounts(filter: {accountTag: …}) { … } } }`. */
  query: string;
  /** The values of its variables. */
  variables?: Record<string, unknown> | null;
};

/** How the wait before a retry grows. */
export type Backoff = 'constant' | 'linear' | 'exponential';

/** How Workers AI is paid for. */
export type BillingMode = 'postpaid' | 'unified';

/** A bucket that would have been exceeded. */
export type BucketView = {
  /** The values that it is for. */
  bucket: (string | null)[];
  /** How often. */
  exceeded: number;
};

/** What the cache has for a request: `status`, `reason`, `key`, `parts` (what makes the question, by name), `ttl_s`, `kept` (`filled_by`, `stored_at`, `age_s`, `fresh_until`, `left_s`, `status`, `bytes`), `stands_in`, `is_under_way`, `nearest`, `differs`. */
export type CacheView = Record<string, unknown>;

/** One entity before and after. */
export type ChangeView = {
  /** After; null: it was removed. */
  after?: Record<string, unknown> | null;
  /** Before; null: there was none. */
  before?: Record<string, unknown> | null;
  /** Which one. */
  id: string;
  /** `gateway`, `token`, `credential` or `view`. */
  kind: string;
};

/** The code of a link. */
export type Code = {
  /** The code of the link. */
  code: string;
};

/** A stored credential, without itself. */
export type ConfigView = {
  /** What `cf-aig-byok-alias` calls it. */
  alias: string;
  /** Whether requests use it that name none. */
  default_config: boolean;
  /** The gateway. */
  gateway_id: string;
  /** Provider and alias with a dot between. */
  id: string;
  /** When it was last stored. */
  modified_at: string;
  /** Slug of the provider. */
  provider_slug: string;
  /** Requests that may use it in a period. */
  rate_limit?: number | null;
  /** Seconds of the period. */
  rate_limit_period?: number | null;
  /** Its name among secrets. */
  secret_id: string;
  /** How it ends, or its kind. */
  secret_preview: string;
};

/** What a rule says. */
export type CostRule = {
  /** Id of the provider; it cannot be changed. */
  account_provider_id?: string | null;
  /** Who says so; `manual`. */
  changed_by?: string | null;
  /** US dollars for a token of input. */
  cost_in?: number | null;
  /** US dollars for a token of output. */
  cost_out?: number | null;
  /** `tokens`. */
  cost_type?: string | null;
  /** Whether it is in force; true. */
  enable?: boolean | null;
  /** The model, or a part of its name. */
  model?: string | null;
  model_rule?: ModelRule | null;
  token_pricing?: TokenPricing | null;
};

/** A rule, as it is told. */
export type CostView = {
  /** Id of the provider. */
  account_provider_id: string;
  /** Who says so. */
  changed_by: string;
  /** US dollars for a token of input. */
  cost_in?: number | null;
  /** US dollars for a token of output. */
  cost_out?: number | null;
  /** `tokens`. */
  cost_type: string;
  /** When it was made. */
  created_at: string;
  /** Whether it is in force. */
  enable: boolean;
  /** Its id. */
  id: string;
  /** The model, or a part of its name. */
  model: string;
  /** `equals`, `starts-with` or `contains`. */
  model_rule: string;
  /** When it was last changed. */
  modified_at: string;
  /** In detail: a JSON object as a text. */
  token_pricing?: string | null;
  /** Its place among the rules of its provider; the first that fits a model holds. */
  weight: number;
};

/** What is exported. */
export type Dataset = 'ai_gateway_events' | 'audit_logs';

/** What restoring a revision would change. */
export type DiffView = {
  /** Empty: everything is as it was then. */
  changes: ChangeView[];
  /** The revision that it was compared with: that of now. */
  revision: number;
};

/** Stored gateways of an account, by id. */
export type Document = {
  /** By id. What is not in it is removed. */
  gateways: Record<string, Written>;
};

/** A request that a limit would not have let pass as it did. */
export type Exceeding = {
  /** When it came. */
  at: string;
  /** How much was drawn before, in the unit of the limit. */
  before: number;
  /** The values that its bucket is for. */
  bucket: (string | null)[];
  /** The request. */
  id: string;
  /** When there would have been room again. */
  opens_at: string;
};

/** The body of every failure. */
export type FailureBody = {
  /** At least one. */
  errors: Problem[];
  /** Empty. */
  messages: Record<string, unknown>[];
  /** Nothing. */
  result?: Record<string, unknown> | null;
  /** Always `false`. */
  success: boolean;
};

/** What somebody brings who follows a link. */
export type Follow = {
  /** The code of the link. */
  code: string;
  /** A new password of at least 12 characters; for an invitation of a user who is there already, the password they have. */
  password: string;
};

/** How often, by name. */
export type Frequency = 'high' | 'low';

/** A gateway. */
export type GatewayView = Settings & {
  /** The account. */
  account_id: string;
  /** When it was made; for one of the file, when the server started. */
  created_at: string;
  /** Its id, unique in the account. */
  id: string;
  /** Whether it is the one that every account has. */
  is_default: boolean;
  /** Who changes it: `api` here, `file` only the configuration file, `default` nobody has yet. */
  managed_by: ManagedBy;
  /** When it was last changed. */
  modified_at: string;
};

/** Content rules, by category. */
export type Guardrails = {
  /** `P1`, `S1` to `S13`. */
  prompt: Record<string, Action>;
  /** The same of answers. */
  response: Record<string, Action>;
};

/** What a limit would have done. */
export type HistoryOutcome = {
  /** Values whose buckets would have been exceeded most often, at most 20. */
  buckets: BucketView[];
  /** Of them, those that would have been refused, warned of, or sent elsewhere. */
  exceeded: number;
  /** The first that would have been exceeded, at most 100. */
  first: Exceeding[];
  /** Whether every request of the time was looked at; otherwise those until `looked_until` were. */
  is_complete: boolean;
  /** When the last one came that was looked at. */
  looked_until?: string | null;
  /** Requests of the gateway that were looked at. */
  requests: number;
  /** Of them, those that the limit is for. */
  under: number;
  /** Of them, those of which nobody knows what they drew. */
  unknown: number;
};

/** How far a job is. */
export type JobState = 'waiting' | 'running' | 'done' | 'cancelled' | 'failed';

/** A job. */
export type JobView = Options & ({
  /** When it was made. */
  created_at: string;
  /** Where to, with stars for what may be secret. */
  destination_conf: string;
  /** Why; empty once a later one was delivered. */
  error_message?: string | null;
  /** Its number. */
  id: number;
  /** How far it is. */
  isango: Progress;
  /** When a batch was last delivered. */
  last_complete?: string | null;
  /** When one last failed. */
  last_error?: string | null;
  /** When it was last changed. */
  modified_at: string;
});

/** A limit, and which requests it is tried on. */
export type LimitTrial = {
  /** A limit as in `limits` of the gateway's settings. */
  limit: Record<string, unknown>;
  /** From this moment on; a week ago. */
  since?: string | null;
  /** To this moment; now. */
  until?: string | null;
};

/** What a budget counts. */
export type LimitType = 'cost';

/** What a link is for. */
export type LinkView = {
  /** Where they are invited to. */
  account?: string | null;
  /** When it ends. */
  expires_at: string;
  /** Who it is for; none: whoever has it chooses a name. */
  name?: string | null;
  /** `setup`, `invitation` or `password`. */
  purpose: string;
  /** As what. */
  role?: string | null;
};

/** A record by itself. */
export type LogDetail = LogItem & ({
  /** How the request's body begins. */
  request_head?: string | null;
  /** Whether that is all of it. */
  request_head_complete?: boolean | null;
  /** Bytes of the request's body. */
  request_size: number;
  /** How the answer's body begins. */
  response_head?: string | null;
  /** Whether that is all of it. */
  response_head_complete?: boolean | null;
  /** Bytes of the answer's body. */
  response_size: number;
});

/** Which part of the records a list is, and between what they lie. */
export type LogInfo = (Ranges | null) & {
  /** Records of this page. */
  count: number;
  /** From 1. */
  page: number;
  /** Most records of a page. */
  per_page: number;
  /** Records of all pages. */
  total_count: number;
  /** Pages. */
  total_pages: number;
};

/** A record in a list. */
export type LogItem = {
  /** Whether a gateway token opened the gateway. */
  authentication: boolean;
  /** Whether the answer came out of the cache. */
  cached: boolean;
  /** Which revision of the configuration it ran under. */
  config_revision: number;
  /** US dollars; absent where they are not known. */
  cost?: number | null;
  /** When the request came. */
  created_at: string;
  /** Whether the request named the price. */
  custom_cost: boolean;
  /** Milliseconds to the last byte. */
  duration: number;
  /** The client's id of the event, else the same. */
  event_id: string;
  /** -1, 0 or 1: what was thought of the answer. */
  feedback?: number | null;
  /** Its id, that of the request. */
  id: string;
  /** The request's metadata, as a text of JSON. */
  metadata: string;
  /** The model that answered, else the one that was asked for; empty where none is known. */
  model: string;
  /** What kind of call it was. */
  model_type: string;
  /** Path behind the provider. */
  path: string;
  /** Slug of the provider; empty where none was found. */
  provider: string;
  /** Empty: bodies have addresses of their own. */
  request: string;
  /** `content-type` of the request. */
  request_content_type?: string | null;
  /** Empty: bodies have addresses of their own. */
  response: string;
  /** `content-type` of the answer. */
  response_content_type?: string | null;
  /** 0 to 100. */
  score?: number | null;
  /** Status that the client was sent. */
  status_code?: number | null;
  /** Which target or leg answered. */
  step: number;
  /** Whether it was answered without an error. */
  success: boolean;
  /** Where the time went. */
  timings: Timings;
  /** Tokens sent. */
  tokens_in?: number | null;
  /** Tokens received. */
  tokens_out?: number | null;
  usage_metadata?: UsageMetadata | null;
  /** The client's `user-agent`. */
  user_agent?: string | null;
};

/** What is said of a record; what is left out stays, null takes it back. */
export type LogPatch = {
  /** -1, 0 or 1. */
  feedback?: number | null;
  /** Entries that replace those of the same key. */
  metadata?: Record<string, unknown> | null;
  /** 0 to 100. */
  score?: number | null;
};

/** A link that was just made, told this once. */
export type MadeLink = {
  /** Its code. */
  code: string;
  /** When it ends. */
  expires_at: string;
  /** Where it leads; begins with `dashboard_url` where that is set, or with `/`. */
  link: string;
  /** Who it is for. */
  name: string;
};

/** A token that was just made, with itself: this once. */
export type MadeToken = TokenView & {
  /** The token itself, which is kept nowhere. */
  value: string;
};

/** Who changes a gateway. */
export type ManagedBy = 'api' | 'file' | 'default';

/** Which models a rule is for. */
export type ModelRule = 'equals' | 'starts-with' | 'contains';

/** A credential to store. */
export type NewConfig = {
  /** What `cf-aig-byok-alias` calls it. */
  alias: string;
  /** Whether requests use it that name none: those use the alias `default`. */
  default_config: boolean;
  /** Slug of the provider. */
  provider_slug: string;
  /** Requests that may use it in a period. */
  rate_limit?: number | null;
  /** Seconds of the period; 60. */
  rate_limit_period?: number | null;
  /** The credential itself. */
  secret?: string | null;
  /** Not used: there is no store of secrets apart from the gateway. */
  secret_id?: string | null;
};

/** A destination to look at. */
export type NewDestination = {
  /** Where to: `s3://…`, `r2://…`, `gs://…`, `azure://…`, `https://…`, `splunk://…`, `datadog://…`. */
  destination_conf: string;
  /** Not needed: whoever writes to a destination has its keys. */
  ownership_challenge?: string | null;
};

/** A new gateway. */
export type NewGateway = Settings & {
  /** Its id, unique in the account. */
  id: string;
};

/** Quiet for a while. */
export type NewMute = {
  /** For so many seconds from now. */
  for_s: number;
};

/** Another password. */
export type NewPassword = {
  /** The one that lets in so far. */
  current: string;
  /** The one from now on: at least 12 characters. */
  password: string;
};

/** A row to set: keys of `[[prices]]` of the configuration. */
export type NewPrice = {
  /** US dollars for a million tokens of input. */
  input?: string | null;
  /** The model. */
  model: string;
  /** US dollars for a million tokens of output. */
  output?: string | null;
  /** Slug of the provider. */
  provider: string;
};

/** Which records are priced again, and by which prices. */
export type NewRerating = {
  /** The prices of this moment; none: for each record those of the moment it was created in, as they are known now. */
  at?: string | null;
  /** Tells what would change, and changes nothing. */
  dry_run?: boolean;
  /** Which of them, in the language of `isango logs`: `cost:unpriced model:gpt-4o*`. */
  filter?: string | null;
  /** Records of this gateway; none: of every gateway of the account. */
  gateway?: string | null;
  /** Created at this moment or later. */
  since?: string | null;
  /** Created before this moment; none: before the job was made. */
  until?: string | null;
};

/** Another role. */
export type NewRole = {
  /** `owner`, `admin`, `analyst` or `viewer`. */
  role: string;
};

/** The credential that takes the place of another. */
export type NewSecret = {
  /** The credential itself. */
  secret: string;
};

/** A token to make. */
export type NewToken = {
  /** When it ends. */
  expires_at?: string | null;
  /** Gateways that it opens; none: all of the account. */
  gateways?: string[];
  /** Metadata of its requests, which wins over what the client claims. */
  metadata?: Record<string, unknown>;
  /** Models that it is for, `*` at the end for any end; none: all. */
  models?: string[];
  /** Its name in records; unique. */
  name: string;
  /** Providers that it is for; none: all. */
  providers?: string[];
  /** `run`, `read`, `write`, `metadata_read`; `run` where none is named. */
  scopes?: string[];
  spend?: SpendView | null;
};

/** Somebody to invite. */
export type NewUser = {
  /** The name to sign in with; an address of e-mail is one. */
  name: string;
  /** `owner`, `admin`, `analyst` or `viewer`. */
  role: string;
};

/** A view to save. */
export type NewView = {
  /** What people call it; 1 to 128 bytes. */
  name: string;
  /** The query of the page's address that asks for it, without its `?`; at most 8 KiB. */
  query: string;
};

/** Nothing but that it was done. */
export type Nothing = Record<string, unknown>;

/** What a job is made of; what is left out has its default. */
export type Options = {
  /** What is exported. */
  dataset?: Dataset;
  /** Whether it is under way. */
  enabled?: boolean;
  /** Which records: JSON with `where`, or Isango's filter language. */
  filter?: string | null;
  frequency?: Frequency | null;
  /** Empty. */
  kind?: string | null;
  /** Not taken: `output_options` says the same. */
  logpull_options?: string | null;
  /** Bytes of a batch before it is packed; 0 is 16 MiB. */
  max_upload_bytes?: number | null;
  /** Seconds that a batch's first record waits; 0 is 30. */
  max_upload_interval_seconds?: number | null;
  /** Records of a batch; 0 is 100 000. */
  max_upload_records?: number | null;
  /** What people call it. */
  name?: string | null;
  output_options?: Output | null;
};

/** Where traces go. */
export type Otel = {
  /** Reference to a stored secret. */
  authorization?: string | null;
  /** Encoding. */
  content_type?: OtelType;
  /** Headers. Their values are stored sealed, and told as `*****`; that sent back keeps the value, as long as the address is the same. */
  headers: Record<string, string>;
  /** What goes there. */
  signal?: OtelSignal;
  /** Address; its query is stored sealed, and told as `*****`. */
  url: string;
};

/** What an exporter sends. */
export type OtelSignal = 'traces' | 'metrics';

/** Encoding of traces and metrics. */
export type OtelType = 'json' | 'protobuf';

/** What a job found, and changed where it is no dry run. */
export type Outcome = {
  /** What they cost now, as far as that is known. */
  after_nanousd: number;
  /** What the changed ones cost before, in nano-dollars, as far as that was known. */
  before_nanousd: number;
  /** Of them, those that cost something else now. */
  changed: number;
  /** Whether every record was looked at; otherwise as many were changed as one job may, or it was ended, and the same again goes on from there. */
  is_complete: boolean;
  /** Those whose cost no price decides: free, without a usage, or set by the client (`cf-aig-custom-cost`). */
  kept: number;
  /** Records that were looked at. */
  looked_at: number;
  /** Of the changed, those whose cost was not known, and is. */
  newly_priced: number;
  /** Of the changed, those whose cost was known, and is not: there is no price any more. */
  newly_unpriced: number;
  /** Those whose cost is not known, as before. */
  still_unpriced: number;
  /** Those that cost the same. */
  unchanged: number;
};

/** What of records is exported, and how it is written. */
export type Output = {
  /** Which fields; all where there are none. */
  field_names?: string[];
  output_type?: OutputType | null;
  /** Every record is exported: 1. */
  sample_rate?: number | null;
  timestamp_format?: Times | null;
};

export type OutputType = 'ndjson' | 'parquet';

/** A row that the account has set. */
export type OwnPrice = {
  /** When it was set. */
  created_at: string;
  /** Its id. */
  id: string;
  /** Keys of `[[prices]]` of the configuration. */
  row: Record<string, unknown>;
};

/** Keys of `[[gateways]]` of the configuration reference. */
export type OwnSettings = Record<string, unknown>;

/** What a document would change. */
export type Plan = {
  /** By id; empty: it is as the document says. */
  changes: Step[];
  /** The revision that it was compared with: `if-match` of `apply`. */
  revision: number;
};

/** A price. */
export type PriceView = {
  /** Since when it holds; null: as far back as the list goes. */
  effective_from?: string | null;
  /** The model. */
  model: string;
  /** What records name it by. */
  price: string;
  /** Slug of the provider. */
  provider: string;
  /** By what is charged. */
  rates: Record<string, RateView>;
  /** Where it was read: a page, `configured`, or `own` where the account set it. */
  source: string;
};

/** One thing that is wrong. */
export type Problem = {
  /** What kind of problem it is; codes never change their meaning. */
  code?: number | null;
  /** What is wrong, and what would be right. */
  message: string;
  /** What leads to it: `body`, then names of members and places in lists. */
  path?: unknown[] | null;
};

/** How far a job is. */
export type Progress = {
  /** Batches that were given up, and are kept aside. */
  buried_batches: number;
  /** Records that were delivered. */
  delivered_records: number;
  /** The last link of the chain, in hex. */
  head: string;
  /** Records that wait. */
  lag_records: number;
  /** Records that retention had removed before. */
  lost_records: number;
};

/** What is set of a provider. */
export type ProviderSettings = {
  /** Where it is: an https URL. */
  base_url?: string | null;
  /** For people. */
  beta?: boolean | null;
  /** For people. */
  curl_example?: string | null;
  /** For people. */
  description?: string | null;
  /** Whether requests may use it; false. */
  enable?: boolean | null;
  /** Headers of every request to it: a JSON object as a text. Told with stars; sent back so, they stay. */
  headers?: string | null;
  /** For people. */
  js_example?: string | null;
  /** A page about it. */
  link?: string | null;
  /** An SVG, in base64; one is made of its name where none is given. */
  logo?: string | null;
  /** Its name for people. */
  name?: string | null;
  /** Its place in lists. */
  position?: number | null;
  /** What stands behind `custom-` in a path; unique in the account. */
  slug?: string | null;
};

/** What is set of a provider, as it is told. */
export type ProviderShown = {
  /** Where it is. */
  base_url: string;
  /** For people. */
  beta: boolean;
  /** For people. */
  curl_example?: string | null;
  /** For people. */
  description?: string | null;
  /** Whether requests may use it. */
  enable: boolean;
  /** Its headers with stars for their values: a JSON object as a text. */
  headers?: string | null;
  /** For people. */
  js_example?: string | null;
  /** A page about it. */
  link?: string | null;
  /** An SVG, in base64. */
  logo: string;
  /** Its name for people. */
  name: string;
  /** Its place in lists. */
  position: number;
  /** What stands behind `custom-` in a path. */
  slug: string;
};

/** A provider. */
export type ProviderView = ProviderShown & {
  /** The account. */
  account_id: string;
  /** When it was made. */
  created_at: string;
  /** Its id. */
  id: string;
  /** When it was last changed. */
  modified_at: string;
};

/** How many answers were removed. */
export type Purged = {
  /** So many. */
  purged: number;
};

/** A request to look at, whole or by its record. */
export type Question = {
  /** As it would be sent; `application/json` unless a header says otherwise. */
  body?: string | null;
  /** Names and values. */
  headers?: Record<string, string>;
  /** `POST` where nothing else is said. */
  method?: string | null;
  /** Behind the gateway: the provider, then its path and query. */
  path?: string | null;
  /** A record of the gateway: its method, path, metadata and body stand for those that are not given. Its headers are not on record. */
  record?: string | null;
  /** Name of a token of the account, as which it is asked. */
  token?: string | null;
};

/** The least and the most; absent where no record tells. */
export type Ranges = {
  max_cost?: number | null;
  max_duration?: number | null;
  max_tokens_in?: number | null;
  max_tokens_out?: number | null;
  max_total_tokens?: number | null;
  min_cost?: number | null;
  min_duration?: number | null;
  min_tokens_in?: number | null;
  min_tokens_out?: number | null;
  min_total_tokens?: number | null;
};

/** A rate, below any tier. */
export type RateView = {
  /** For how many tokens, characters, milliseconds or pieces. */
  per: number;
  /** US dollars, as a text of decimals. */
  usd: string;
};

/** What the cache did for a request of before. */
export type RecordCache = {
  /** The answer that is kept under its key now: `filled_by`, `stored_at`, `age_s`, `fresh_until`, `left_s`, `status`, `bytes`. */
  kept?: Record<string, unknown> | null;
  /** What its record says: `status`, `key`, `reason`, `filled_by`, `age_s`, `nearest`, `differs`, `fill`; null: nothing asked for the cache. */
  recorded?: Record<string, unknown> | null;
};

/** A record as it stands in the journal, without its bodies. */
export type RecordView = Record<string, unknown>;

/** What would become of a request: `fate` (`sent`, `recalled`, `refused`), `refusal` (`status`, `code`, `message`), `provider`, `target`, `upstream`, `operation`, `model`, `streams`, `token`, `limits` (`rule`, `unit`, `bucket`, `verdict`, `limit`, `before`, `left`, `needs`, `resets_at`), `targets` (`target`, `provider`, `is_equal`, `is_open`, `why`), `cache` (as `cache/explain` tells it), `estimate` (tokens, and nano-dollars at most and in all likelihood), `notes`. */
export type RehearsalView = Record<string, unknown>;

/** A remark on what was done. */
export type Remark = {
  /** What kind of remark it is. */
  code: number;
  /** In words. */
  message: string;
};

/** What was removed. */
export type Removed = {
  /** Its id. */
  id: string;
};

/** A job. */
export type RerateJob = {
  /** What was asked for. */
  asked: NewRerating;
  /** When. */
  created_at: string;
  /** When it ended. */
  ended_at?: string | null;
  /** Its id. */
  id: string;
  /** What it has found so far, or in the end. */
  outcome: Outcome;
  /** How far it is. */
  state: JobState;
  /** Records that pass, all in all; null: they were not counted yet. */
  total?: number | null;
  /** Who asked. */
  who: string;
};

/** What was restored. */
export type Restored = {
  /** How many entities are as they were. */
  changed: number;
  /** The new revision. */
  revision: number;
};

/** Which part of a list an answer is. */
export type ResultInfo = {
  /** Entries of this page. */
  count: number;
  /** `cursor` of the next page; null on the last one. */
  cursor?: string | null;
  /** From 1. */
  page: number;
  /** Most entries of a page. */
  per_page: number;
  /** Entries of all pages. */
  total_count: number;
  /** Pages. */
  total_pages: number;
};

/** One commit. */
export type RevisionView = {
  /** When it was made. */
  at: string;
  /** What it changed in this account. */
  changes: ChangeView[];
  /** Its number. */
  revision: number;
  /** Whose it is. */
  who: string;
};

/** How a token is rotated. */
export type Rotation = {
  /** Seconds that the old token opens gateways beside the new one; a day. */
  grace_s?: number;
};

/** Where a list goes on. */
export type RowInfo = {
  /** Rows of this page. */
  count: number;
  /** Whether every record was looked at that had to be; otherwise time ran out, or this is the last page in reach (behind 100 000 rows in another order than that of time) and more pass. */
  is_complete: boolean;
  /** `after` of the next page; null on the last one. */
  next?: string | null;
};

/** A record without its nested parts. Times are microseconds, money is nano-dollars. */
export type RowView = Record<string, unknown>;

/** A saved view. */
export type SavedView = {
  /** When it was saved first. */
  created_at: string;
  /** By whom. */
  created_by: string;
  /** Its id. */
  id: string;
  /** What people call it. */
  name: string;
  /** The query of the page's address that asks for it. */
  query: string;
};

/** Whoever is signed in, and what the dashboard needs beside. */
export type SessionView = {
  /** Accounts that are there for them. */
  accounts: string[];
  /** Goes with every change, in `x-csrf-token`. */
  csrf: string;
  /** Where applications reach the gateway. */
  data_url: string;
  /** Who it is. */
  user: UserOfSession;
  /** The version of the server. */
  version: string;
};

/** A gateway's settings. */
export type Settings = {
  /** Whether a gateway token is needed. */
  authentication?: boolean | null;
  /** Whether every request needs a credential of its caller, or a stored one. */
  byok_only?: boolean | null;
  /** Whether kept answers are dropped when the gateway changes. */
  cache_invalidate_on_update?: boolean;
  /** Seconds that answers are kept; 0 or null: only where a request asks for it. */
  cache_ttl?: number | null;
  /** Whether exchanges leave a record. */
  collect_logs?: boolean;
  /** Data loss prevention. */
  dlp?: Record<string, unknown> | null;
  guardrails?: Guardrails | null;
  /** Whether records are classified. */
  log_classification?: boolean | null;
  /** Most records that are kept. */
  log_management?: number | null;
  log_management_strategy?: Strategy | null;
  /** Whether records are exported. */
  logpush?: boolean | null;
  /** What exported records are sealed with: an RSA key, PEM. */
  logpush_public_key?: string | null;
  /** Where traces or metrics go. */
  otel?: Otel[] | null;
  /** Length of the interval of the rate limit in seconds; 0 or null: off. */
  rate_limiting_interval?: number | null;
  /** Requests in each interval; 0 or null: off. */
  rate_limiting_limit?: number | null;
  rate_limiting_technique?: Technique | null;
  retry_backoff?: Backoff | null;
  /** Milliseconds before the first retry. */
  retry_delay?: number | null;
  /** How often a target is asked. */
  retry_max_attempts?: number | null;
  spend_limits?: SpendLimits | null;
  /** The store of its provider keys. */
  store_id?: string | null;
  stripe?: Stripe | null;
  workers_ai_billing_mode?: BillingMode | null;
  /** Whether only providers are asked that retain nothing. */
  zdr?: boolean | null;
};

/** The first owner. */
export type Setup = {
  /** The code of the link that the first start printed, or `isango setup-link`. */
  code: string;
  /** The name to sign in with: letters, digits and `.`, `_`, `@`, `+`, `-`. */
  name: string;
  /** The password: at least 12 characters. */
  password: string;
};

/** Whether there is an owner yet. */
export type SetupView = {
  /** Nobody owns this server: the link that its first start printed makes somebody the owner. */
  needed: boolean;
  /** What the provider of identities is called by which people sign in (`GET oidc/login`); none: they have passwords alone. */
  provider?: string | null;
};

/** Who signs in. */
export type SignIn = {
  /** The name, in any case. */
  name: string;
  /** The password. */
  password: string;
};

/** Budgets. */
export type SpendLimits = {
  /** Whether they hold. */
  enabled?: boolean;
  /** At most 20. */
  rules?: SpendRule[];
};

/** One budget. */
export type SpendRule = {
  /** Whether it holds. */
  enabled?: boolean;
  /** Its name. */
  id?: string;
  /** US dollars, above 0. */
  limit: number;
  /** What is counted. */
  limitType: LimitType;
  /** Split or filtered by entries of metadata. */
  metadata?: Record<string, Split>;
  model?: Split | null;
  provider?: Split | null;
  /** How the window moves. */
  technique?: Technique;
  /** Seconds, above 0. */
  window: number;
};

/** How much requests may cost in a turn of the calendar. */
export type SpendView = {
  /** US dollars, as a text of decimals. */
  limit_usd: string;
  /** `minute`, `hour`, `day`, `week` or `month`. */
  period: string;
  /** By whose calendar; UTC. */
  time_zone?: string;
};

/** How a budget is split by a dimension, or filtered. */
export type Split = {
  mode: 'partition';
} | {
  mode: 'filter';
  /** At least one. */
  values: string[];
};

/** How an alert stands. */
export type StandingView = {
  /** When it last took one, since the server started. */
  delivered_at?: string | null;
  /** When the last try failed; null where a later one did not. */
  failed_at?: string | null;
  /** Why; names no address. */
  failure?: string | null;
  /** How often it was told since the server started. */
  fired: number;
  /** Of a limit: it was told of a bucket whose window has not ended. Of requests: too many of those in its window are of its kind. */
  firing: boolean;
  /** When it was last told; null: not since the server started, and nothing of before waits. */
  last_fired_at?: string | null;
  /** Messages that its webhook has not taken yet. */
  waiting: number;
};

/** One gateway that would be changed. */
export type Step = {
  after?: Written | null;
  before?: Written | null;
  /** Its id. */
  id: string;
};

/** What the store takes: `records`, bytes by part (`journal_bytes`, `index_bytes`, `column_bytes`, `rollup_bytes`, `overlay_bytes`, `torn_bytes`, `total_bytes`), `days` (`day`, `records`, `journal_bytes`; the latest 30), `free_bytes`, `bytes_per_day`, `days_left`, `full_at`, and `retention` (`max_bytes`, `max_age_s`, `max_body_age_s`). */
export type StorageView = Record<string, unknown>;

/** What happens when the most records are kept. */
export type Strategy = 'STOP_INSERTING' | 'DELETE_OLDEST';

/** Usage events. */
export type Stripe = {
  /** Key; stored sealed, and told as `*****`. */
  authorization: string;
  /** What is sent. */
  usage_events: StripeEvent[];
};

/** A usage event. */
export type StripeEvent = {
  /** Its body. */
  payload: string;
};

/** A target: `account`, `gateway`, `target`, and how it is. */
export type TargetState = Record<string, unknown>;

/** How a window moves. */
export type Technique = 'fixed' | 'sliding';

/** What became of a test message. */
export type TestView = {
  /** Whether the webhook took it. */
  delivered: boolean;
  /** What it said, or why it said nothing; names no address. */
  said: string;
  /** Its status. */
  status?: number | null;
};

export type Times = 'rfc3339' | 'unix' | 'unixnano';

/** Where the time went, in milliseconds. */
export type Timings = {
  /** To the first byte. */
  latency?: number | null;
  /** To the last byte. */
  total: number;
};

/** Prices in detail. */
export type TokenPricing = {
  input_audio_tokens?: number | null;
  input_cache_creation_tokens?: number | null;
  input_cached_tokens?: number | null;
  input_image_count?: number | null;
  input_image_tokens?: number | null;
  input_text_tokens?: number | null;
  input_tokens?: number | null;
  input_video_tokens?: number | null;
  output_image_count?: number | null;
  output_reasoning_tokens?: number | null;
  output_tokens?: number | null;
  total_tokens?: number | null;
};

/** A token, without itself. */
export type TokenView = {
  /** When it was made. */
  created_at: string;
  /** When it ends. */
  expires_at?: string | null;
  /** Gateways that it opens; none: all of the account. */
  gateways: string[];
  /** Metadata of its requests. */
  metadata: Record<string, unknown>;
  /** Models that it is for; none: all. */
  models: string[];
  /** Its name. */
  name: string;
  /** Providers that it is for; none: all. */
  providers: string[];
  /** When it was revoked. */
  revoked_at?: string | null;
  /** When it was last rotated. */
  rotated_at?: string | null;
  /** What it may do. */
  scopes: string[];
  spend?: SpendView | null;
};

/** What was asked for, or what is wrong with the question. */
export type Told = {
  /** Null where there are errors. */
  data?: Record<string, unknown> | null;
  /** Null where there are none. */
  errors?: WrongQuery[] | null;
};

/** Something that happened. */
export type TrailEntry = {
  /** The account that it concerns; `*` of every one. */
  account: string;
  /** What was done. */
  action: string;
  /** From where; none: by a command on the machine itself. */
  address?: string | null;
  /** How it is then, or what was done; null: it was removed. */
  after?: Record<string, unknown> | null;
  /** When. */
  at: string;
  /** How it was; null: there was nothing. */
  before?: Record<string, unknown> | null;
  /** To which one of its kind; empty where there is but one. */
  id: string;
  /** To what kind of thing. */
  kind: string;
  /** SHA-256 over the link before and this entry, in hex. */
  link: string;
  /** Its number in the trail of the server. */
  number: number;
  /** The revision of the configuration that it made. */
  revision?: number | null;
  /** `token NAME`, `user NAME`, `command line`, `nobody`. */
  who: string;
};

/** Where the list goes on. */
export type TrailInfo = {
  /** Entries of this page. */
  count: number;
  /** `after` of the next page; null on the last one. */
  next?: number | null;
};

/** A request to try. */
export type Trial = {
  /** As it is sent; `application/json` unless a header says otherwise. */
  body?: string;
  /** Names and values. */
  headers?: Record<string, string>;
  /** Behind the gateway: the provider, then its path and query. */
  path: string;
};

/** Tokens by kind. */
export type UsageMetadata = {
  /** Sent, and read from the provider's cache. */
  input_cached_tokens: number;
  /** Sent. */
  input_tokens: number;
  /** Received and not shown. */
  output_reasoning_tokens: number;
  /** Received. */
  output_tokens: number;
  /** Both. */
  total_tokens: number;
};

/** Who is signed in. */
export type UserOfSession = {
  /** The name they sign in with. */
  name: string;
  /** What they may do in the first of their accounts. */
  role: string;
  /** What they may do, by account; `*` stands for every account. */
  roles: Record<string, unknown>;
};

/** A user, or somebody who is invited. */
export type UserView = {
  /** When they were made or invited. */
  created_at: string;
  /** Whether they have a role in every account. */
  everywhere: boolean;
  /** When the invitation ends. */
  expires_at?: string | null;
  /** The name they sign in with. */
  name: string;
  /** What they may do in the account. */
  role: string;
  /** `active` or `invited`. */
  state: string;
};

/** What to remove: answers of the account for which everything holds that is set. Nothing set: all of them. */
export type Wanted = {
  /** Id of the gateway. */
  gateway?: string | null;
  /** Key of one answer: 64 hex digits, as in its records. */
  key?: string | null;
  /** Model that was asked for. */
  model?: string | null;
  /** Whose question is older than so many seconds. */
  older_than_s?: number | null;
  /** The `cf-aig-cache-key`, or the value that the gateway's `cache_scope` found. */
  scope?: string | null;
};

/** One gateway. */
export type Written = {
  /** What was set, in the spelling of the contract. */
  fields?: Record<string, unknown>;
  /** Keys of `[[gateways]]` that have no such spelling. */
  settings?: Record<string, unknown>;
};

/** What is wrong with a question. */
export type WrongQuery = {
  /** In words. */
  message: string;
  /** Which fields lead to it. */
  path?: string[];
};
