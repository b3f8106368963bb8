/** One prompt in the formats of providers, and what their streams say. */

export type Format = 'chat' | 'responses' | 'anthropic' | 'gemini';

export interface Prompt {
  system: string;
  user: string;
  temperature: number | null;
  most: number | null;
  stream: boolean;
}

/** Which format is spoken at a path. */
export function formatOf(path: string): Format {
  const [where = ''] = path.split('?');
  if (/\/messages$/.test(where)) return 'anthropic';
  if (/:(streamG|g)enerateContent$/.test(where)) return 'gemini';
  return /\/responses$/.test(where) ? 'responses' : 'chat';
}

/** A body that asks for it; a model that the path names is left to the path. */
export function written(path: string, model: string, { system, user, temperature, most, stream }: Prompt): string {
  const named = model !== '' ? { model } : {};
  const said = (content: string) => ({ role: 'user', content });
  const body = {
    chat: () => ({
      ...named, messages: [...(system ? [{ role: 'system', content: system }] : []), said(user)],
      ...(temperature !== null && { temperature }), ...(most !== null && { max_completion_tokens: most }), stream,
    }),
    responses: () => ({ ...named, ...(system && { instructions: system }), input: user, ...(temperature !== null && { temperature }), ...(most !== null && { max_output_tokens: most }), stream }),
    anthropic: () => ({ ...named, ...(system && { system }), messages: [said(user)], max_tokens: most ?? 1_024, ...(temperature !== null && { temperature }), stream }),
    gemini: () => ({
      ...(system && { systemInstruction: { parts: [{ text: system }] } }), contents: [{ role: 'user', parts: [{ text: user }] }],
      generationConfig: { ...(temperature !== null && { temperature }), ...(most !== null && { maxOutputTokens: most }) },
    }),
  }[formatOf(path)]();
  return JSON.stringify(body, null, 2);
}

/** A stored body with another model, and nothing else changed; one that is no JSON as it is. */
export function withModel(body: string, model: string): string {
  if (model === '') return body;
  try {
    const parsed = JSON.parse(body) as unknown;
    return typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed) ? JSON.stringify({ ...parsed, model }, null, 2) : body;
  } catch {
    return body;
  }
}

/** The header that a provider's key goes into. */
export function keyHeader(path: string, key: string): Record<string, string> {
  if (key === '') return {};
  const [provider = ''] = path.split('/');
  if (provider.startsWith('azure-openai')) return { 'api-key': key };
  if (provider.startsWith('anthropic')) return { 'x-api-key': key };
  if (provider.startsWith('google-ai-studio')) return { 'x-goog-api-key': key };
  return { authorization: `Bearer ${key}` };
}

/** Headers that a format cannot do without. */
export const formatHeaders = (path: string): Record<string, string> => (formatOf(path) === 'anthropic' ? { 'anthropic-version': '2023-06-01' } : {});

/** Events of a stream out of its pieces, wherever these are cut: the data of each whole one. */
export class Events {
  #rest = '';

  take(piece: string): string[] {
    const blocks = (this.#rest + piece).split(/\r\n\r\n|\n\n|\r\r/);
    this.#rest = blocks.pop() ?? '';
    return blocks.flatMap((block) => {
      const data = block.split(/\r\n|\n|\r/).flatMap((line) => (line.startsWith('data:') ? [line.slice(5).replace(/^ /, '')] : []));
      return data.length > 0 ? [data.join('\n')] : [];
    });
  }
}

type Json = Record<string, unknown>;
const object = (value: unknown): Json => (typeof value === 'object' && value !== null ? (value as Json) : {});
const list = (value: unknown): Json[] => (Array.isArray(value) ? value.map(object) : []);
const text = (value: unknown): string => (typeof value === 'string' ? value : '');

/** What an event adds to the answer, as text. */
export function delta(data: string): string {
  let event: Json;
  try {
    event = object(JSON.parse(data));
  } catch {
    return '';
  }
  if (event.type === 'response.output_text.delta') return text(event.delta);
  if (event.type === 'content_block_delta') return text(object(event.delta).text);
  const chosen = object(list(event.choices)[0]);
  const candidate = object(object(list(event.candidates)[0]).content);
  return text(object(chosen.delta).content) + list(candidate.parts).map((part) => (part.thought === true ? '' : text(part.text))).join('');
}

/** Why a refusal was made, in its own words. */
export function refused(body: string): string {
  try {
    const parsed = object(JSON.parse(body));
    return text(object(parsed.error).message) || text(parsed.message) || body;
  } catch {
    return body;
  }
}
