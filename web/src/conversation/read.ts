/**
 * Reads what was said out of stored bodies: of OpenAI (chat, completions, responses), Anthropic and
 * Gemini, requests and answers. A body of another shape, or a member that is not known here, is not
 * an error: it is shown as JSON. Nothing of a body is ever taken for markup.
 */

export type Part =
  | { kind: 'text'; text: string }
  /** `null` text: there was reasoning that the provider keeps to itself. */
  | { kind: 'reasoning'; text: string | null }
  | { kind: 'call'; id: string | null; name: string; input: string }
  | { kind: 'result'; id: string | null; text: string; failed: boolean }
  /** `data`: an address with the image in it; otherwise the image lies elsewhere, at `at`. */
  | { kind: 'image'; data: string | null; at: string | null }
  | { kind: 'file'; name: string }
  | { kind: 'refusal'; text: string }
  | { kind: 'other'; name: string; value: unknown };

export type Role = 'system' | 'user' | 'assistant' | 'tool';

export interface Message {
  role: Role;
  name: string | null;
  parts: Part[];
  /** The message is of the answer, not of the question. */
  answered: boolean;
}

export interface Tool {
  name: string;
  description: string;
  schema: unknown;
}

export interface Conversation {
  messages: Message[];
  tools: Tool[];
  /** Everything else of the request: temperature, limits, formats. */
  settings: [name: string, value: unknown][];
}

type Json = Record<string, unknown>;

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const objects = (value: unknown): Json[] => (Array.isArray(value) ? value.filter(isObject) : []);
const text = (value: unknown): string => (typeof value === 'string' ? value : '');
const spelled = (value: unknown): string =>
  typeof value === 'string' ? value : value === undefined ? '' : JSON.stringify(value, null, 2);

/** What is no conversation at all (embeddings, images, a malformed body) gives null. */
export function read(request: unknown, response: unknown): Conversation | null {
  const question = isObject(request) ? request : {};
  const answer = isObject(response) ? response : {};
  const messages = [...asked(question), ...answered(answer)];
  if (messages.length === 0) return null;
  return { messages, tools: tools(question), settings: settings(question) };
}

const SAID = new Set([
  'messages', 'input', 'instructions', 'prompt', 'system', 'contents', 'systemInstruction',
  'system_instruction', 'tools', 'functions',
]);

function settings(question: Json): [string, unknown][] {
  return Object.entries(question).filter(([name]) => !SAID.has(name));
}

function asked(question: Json): Message[] {
  const messages: Message[] = [];
  const system = question.system ?? question.instructions;
  if (system !== undefined && system !== null) messages.push(message('system', content(system)));
  const gemini = question.systemInstruction ?? question.system_instruction;
  if (isObject(gemini)) messages.push(message('system', geminiParts(gemini)));
  for (const one of objects(question.messages)) messages.push(...chat(one));
  if (typeof question.input === 'string') messages.push(message('user', content(question.input)));
  // The items of the Responses API; a list of texts is what embeddings are made of.
  for (const item of objects(question.input)) messages.push(...responseItem(item));
  for (const one of objects(question.contents)) {
    messages.push(message(one.role === 'model' ? 'assistant' : 'user', geminiParts(one)));
  }
  if (typeof question.prompt === 'string') messages.push(message('user', content(question.prompt)));
  return joined(messages);
}

function answered(answer: Json): Message[] {
  const messages: Message[] = [];
  for (const choice of objects(answer.choices)) {
    if (isObject(choice.message)) messages.push(...chat({ role: 'assistant', ...choice.message }));
    else if (typeof choice.text === 'string') messages.push(message('assistant', content(choice.text)));
  }
  for (const item of objects(answer.output)) messages.push(...responseItem(item));
  if (Array.isArray(answer.content)) {
    messages.push(message(role(answer.role, 'assistant'), content(answer.content)));
  }
  for (const candidate of objects(answer.candidates)) {
    if (isObject(candidate.content)) messages.push(message('assistant', geminiParts(candidate.content)));
  }
  return joined(messages).map((one) => ({ ...one, answered: true }));
}

function message(role: Role, parts: Part[], name: string | null = null): Message {
  return { role, name, parts, answered: false };
}

function role(value: unknown, otherwise: Role): Role {
  if (value === 'developer' || value === 'system') return 'system';
  if (value === 'function' || value === 'tool') return 'tool';
  return value === 'user' || value === 'assistant' ? value : otherwise;
}

/** Items of one speaker that follow one another (calls, reasoning and text) are one message. */
function joined(messages: Message[]): Message[] {
  const whole: Message[] = [];
  for (const one of messages) {
    const before = whole.at(-1);
    if (before && one.role === 'assistant' && before.role === 'assistant') before.parts.push(...one.parts);
    else if (one.parts.length > 0) whole.push(one);
  }
  return whole;
}

/** A message of OpenAI's chat, or of Anthropic. */
function chat(one: Json): Message[] {
  const who = role(one.role, 'user');
  const name = typeof one.name === 'string' ? one.name : null;
  if (who === 'tool') {
    const id = text(one.tool_call_id) || null;
    const said = content(one.content).map(asText).join('\n');
    return [message('tool', [{ kind: 'result', id, text: said, failed: false }], name)];
  }
  const parts: Part[] = [];
  const reasoning = one.reasoning_content ?? one.reasoning;
  if (typeof reasoning === 'string' && reasoning) parts.push({ kind: 'reasoning', text: reasoning });
  parts.push(...content(one.content));
  if (typeof one.refusal === 'string') parts.push({ kind: 'refusal', text: one.refusal });
  for (const call of objects(one.tool_calls)) {
    const of = isObject(call.function) ? call.function : isObject(call.custom) ? call.custom : call;
    parts.push(called(call.id, of.name, of.arguments ?? of.input));
  }
  if (isObject(one.function_call)) {
    parts.push(called(null, one.function_call.name, one.function_call.arguments));
  }
  // Anthropic answers a tool call in a message of the user's.
  const isResult = parts.length > 0 && parts.every((part) => part.kind === 'result');
  return [message(isResult ? 'tool' : who, parts, name)];
}

function called(id: unknown, name: unknown, input: unknown): Part {
  return { kind: 'call', id: text(id) || null, name: text(name) || 'unnamed', input: pretty(input) };
}

/** Arguments come as JSON in a text, or as JSON. What is cut is shown as it is. */
function pretty(input: unknown): string {
  if (typeof input !== 'string') return spelled(input);
  try {
    return JSON.stringify(JSON.parse(input), null, 2);
  } catch {
    return input;
  }
}

function content(value: unknown): Part[] {
  if (typeof value === 'string') return value === '' ? [] : [{ kind: 'text', text: value }];
  if (!Array.isArray(value)) return value == null ? [] : [{ kind: 'other', name: 'content', value }];
  return value.map((one) => (isObject(one) ? block(one) : { kind: 'text', text: spelled(one) }));
}

/** One piece of content: OpenAI's and Anthropic's types do not collide. */
function block(one: Json): Part {
  switch (one.type) {
    case 'text':
    case 'input_text':
    case 'output_text':
    case 'summary_text':
    case 'reasoning_text':
      return { kind: 'text', text: text(one.text) };
    case 'refusal':
      return { kind: 'refusal', text: text(one.refusal) };
    case 'thinking':
      return { kind: 'reasoning', text: text(one.thinking) || null };
    case 'redacted_thinking':
      return { kind: 'reasoning', text: null };
    case 'tool_use':
    case 'server_tool_use':
      return called(one.id, one.name, one.input);
    case 'tool_result':
      return {
        kind: 'result',
        id: text(one.tool_use_id) || null,
        text: content(one.content).map(asText).join('\n'),
        failed: one.is_error === true,
      };
    case 'image_url':
      return image(isObject(one.image_url) ? one.image_url.url : one.image_url);
    case 'input_image':
      return image(one.image_url);
    case 'image':
      return anthropicImage(isObject(one.source) ? one.source : {});
    case 'input_audio':
    case 'file':
    case 'input_file':
    case 'document':
      return { kind: 'file', name: fileName(one) };
    default:
      return { kind: 'other', name: text(one.type) || 'content', value: one };
  }
}

function fileName(one: Json): string {
  const of = isObject(one.file) ? one.file : one;
  return text(of.filename) || text(of.title) || text(of.file_id) || String(one.type);
}

const DRAWN = /^data:image\/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/=\s]+$/;

function image(url: unknown): Part {
  const at = text(url);
  return DRAWN.test(at)
    ? { kind: 'image', data: at, at: null }
    : { kind: 'image', data: null, at: at.startsWith('data:') ? at.slice(0, 40) : at };
}

function anthropicImage(source: Json): Part {
  if (source.type !== 'base64') return image(source.url);
  return image(`data:${text(source.media_type)};base64,${text(source.data)}`);
}

function asText(part: Part): string {
  if (part.kind === 'text' || part.kind === 'refusal') return part.text;
  if (part.kind === 'image') return part.at ?? '[image]';
  return part.kind === 'other' ? spelled(part.value) : `[${part.kind}]`;
}

function responseItem(item: Json): Message[] {
  switch (item.type) {
    case 'reasoning': {
      const said = [...content(item.summary), ...content(item.content)].map(asText).join('\n\n');
      return [message('assistant', [{ kind: 'reasoning', text: said || null }])];
    }
    case 'function_call':
    case 'custom_tool_call':
      return [message('assistant', [called(item.call_id, item.name, item.arguments ?? item.input)])];
    case 'function_call_output':
    case 'custom_tool_call_output': {
      const said = content(item.output).map(asText).join('\n');
      const id = text(item.call_id) || null;
      return [message('tool', [{ kind: 'result', id, text: said, failed: false }])];
    }
    case 'message':
    case undefined:
      return [message(role(item.role, 'user'), content(item.content))];
    default:
      return [message('assistant', [{ kind: 'other', name: text(item.type), value: item }])];
  }
}

function geminiParts(of: Json): Part[] {
  return objects(of.parts).map((part): Part => {
    if (typeof part.text === 'string') {
      return { kind: part.thought === true ? 'reasoning' : 'text', text: part.text };
    }
    const call = part.functionCall ?? part.function_call;
    if (isObject(call)) return called(call.id, call.name, call.args);
    const result = part.functionResponse ?? part.function_response;
    if (isObject(result)) {
      const id = text(result.id) || text(result.name) || null;
      return { kind: 'result', id, text: spelled(result.response), failed: false };
    }
    const data = part.inlineData ?? part.inline_data;
    if (isObject(data)) {
      const kind = text(data.mimeType) || text(data.mime_type);
      const drawn = image(`data:${kind};base64,${text(data.data)}`);
      return kind.startsWith('image/') ? drawn : { kind: 'file', name: kind };
    }
    return { kind: 'other', name: 'part', value: part };
  });
}

function tools(question: Json): Tool[] {
  const all = [...objects(question.tools), ...objects(question.functions)];
  return all.flatMap((one) => {
    const declared = objects(one.functionDeclarations ?? one.function_declarations);
    if (declared.length > 0) return declared.map(tool);
    return [tool(isObject(one.function) ? one.function : one)];
  });
}

function tool(one: Json): Tool {
  return {
    name: text(one.name) || text(one.type) || 'unnamed',
    description: text(one.description),
    schema: one.parameters ?? one.input_schema ?? null,
  };
}

/** What was said last by the user, on one line: for lists and titles. */
export function gist(conversation: Conversation, most = 120): string {
  const last = conversation.messages.findLast((one) => one.role === 'user' && !one.answered);
  const said = last?.parts.find((part) => part.kind === 'text');
  const line = said?.kind === 'text' ? said.text.slice(0, most * 4).replace(/\s+/g, ' ').trim() : '';
  return line.length > most ? `${line.slice(0, most - 1)}…` : line;
}

/** What was answered, as text; calls of tools are told by their names. */
export function said(conversation: Conversation): string {
  const parts = conversation.messages.filter((one) => one.answered).flatMap((one) => one.parts);
  return parts.filter((part) => part.kind !== 'reasoning').map((part) => (part.kind === 'call' ? `[calls ${part.name}] ${part.input}` : asText(part))).join('\n');
}
