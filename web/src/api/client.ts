/**
 * The one way to the management API: envelopes, errors, the session's cookie and its CSRF token.
 * Everything else of `api` is made of these calls.
 */

/** A refusal of the API, or a failure to reach it (`status` 0). */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: number | null,
    message: string,
    /** Members of the request that it is about. */
    readonly path: readonly string[] = [],
  ) {
    super(message);
    this.name = 'ApiError';
  }
}

interface Envelope<T> {
  success: boolean;
  result: T;
  result_info?: Record<string, unknown>;
  errors?: { code?: number; message: string; path?: string[] }[];
  messages?: { code: number; message: string }[];
}

export interface Reply<T> {
  result: T;
  info: Record<string, unknown>;
  /** What was accepted and has no effect yet, and other remarks. */
  remarks: string[];
  /** To be sent with a change of what was answered, as `ifMatch`. */
  version: string | null;
}

let csrf = '';
let whenSignedOut: () => void = () => {};

/** The token that goes with every change from now on. */
export function useCsrf(token: string): void {
  csrf = token;
}

/** Called when an answer says that the session is over. */
export function onSignedOut(listener: () => void): void {
  whenSignedOut = listener;
}

export interface Ask {
  method?: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  query?: Record<string, string | number | boolean | null | undefined>;
  body?: unknown;
  signal?: AbortSignal | undefined;
  /** Only this version is changed. */
  ifMatch?: string | null | undefined;
}

const BASE = '/client/v4';

/** The address of a call; parameters that are null, undefined or empty are left out. */
export function address(path: string, query: Ask['query'] = {}): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== '') search.set(name, String(value));
  }
  const text = search.toString();
  return BASE + path + (text && `?${text}`);
}

/** Sends a call and returns its answer, whatever its status. @throws ApiError if there is none. */
async function send(path: string, ask: Ask): Promise<Response> {
  const method = ask.method ?? 'GET';
  const headers = new Headers({ accept: 'application/json' });
  if (method !== 'GET') headers.set('x-csrf-token', csrf);
  const init: RequestInit = { method, headers, credentials: 'same-origin' };
  if (ask.signal) init.signal = ask.signal;
  if (ask.ifMatch) headers.set('if-match', ask.ifMatch);
  if (ask.body !== undefined) {
    headers.set('content-type', 'application/json');
    init.body = JSON.stringify(ask.body);
  }
  try {
    return await fetch(address(path, ask.query), init);
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error;
    throw new ApiError(0, null, 'Isango does not answer. Is it running, and can it be reached from here?');
  }
}

function refusal(status: number, text: string): ApiError {
  let envelope: Partial<Envelope<unknown>> = {};
  try {
    envelope = JSON.parse(text) as Partial<Envelope<unknown>>;
  } catch {
    // Not ours: a proxy in between, perhaps.
  }
  const first = envelope.errors?.[0];
  const message = first?.message ?? `The answer was ${status}, without a reason.`;
  return new ApiError(status, first?.code ?? null, message, first?.path ?? []);
}

/** The result of a call. @throws ApiError */
export async function call<T>(path: string, ask: Ask = {}): Promise<Reply<T>> {
  const answer = await send(path, ask);
  const text = await answer.text();
  if (!answer.ok) {
    if (answer.status === 401) whenSignedOut();
    throw refusal(answer.status, text);
  }
  try {
    const { result, result_info, messages } = JSON.parse(text) as Envelope<T>;
    const remarks = (messages ?? []).map((one) => one.message);
    return { result, info: result_info ?? {}, remarks, version: answer.headers.get('etag') };
  } catch {
    throw new ApiError(answer.status, null, 'The answer is no JSON. Does a proxy stand in between?');
  }
}

/**
 * An answer that is not ours, as it comes. @throws ApiError where it is ours, which is a refusal
 */
export async function passed(path: string, ask: Ask): Promise<Response> {
  const answer = await send(path, ask);
  if (answer.headers.get('isango-answered') === 'gateway') return answer;
  if (answer.status === 401) whenSignedOut();
  throw refusal(answer.status, await answer.text());
}

/** A body that has no envelope; null where none is stored. @throws ApiError */
export async function body(path: string, signal?: AbortSignal): Promise<string | null> {
  const answer = await send(path, { signal });
  const text = await answer.text();
  if (answer.status === 404) return null;
  if (!answer.ok) throw refusal(answer.status, text);
  return text;
}
