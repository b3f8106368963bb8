/** A stored body, read if it is JSON. */
export function parsed(body: string | null): unknown {
  if (body === null) return undefined;
  try {
    return JSON.parse(body) as unknown;
  } catch {
    return body;
  }
}

export const OMITTED = {
  payload_off: 'The gateway or the request asked for no bodies on record.',
  too_large: 'Only its beginning is on record: it is larger than max_record_body_bytes.',
  memory_limit: 'Only its beginning is on record: the memory for bodies in flight was used up.',
  expired: 'It was on record for as long as bodies are kept, and is no longer.',
  deleted: 'The record was deleted; what counts in sums is left of it.',
} as const;
