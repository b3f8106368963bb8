import assert from 'node:assert/strict';
import { test } from 'node:test';
import { occurrences, pieces } from '../../src/conversation/pieces';
import { gist, read } from '../../src/conversation/read';

/** Each message as `role: kind kind`, with `>` before those of the answer. */
function check(request: unknown, response: unknown, expected: string[]) {
  const found = read(request, response)?.messages.map((one) => `${one.answered ? '> ' : ''}${one.role}: ${one.parts.map((part) => part.kind).join(' ')}`);
  assert.deepEqual(found ?? [], expected);
}

test('chats of OpenAI, with calls and what they answer', () => {
  const request = { messages: [
    { role: 'developer', content: 'Be short' },
    { role: 'user', content: [{ type: 'text', text: 'What is this?' }, { type: 'image_url', image_url: { url: 'data:image/png;base64,AAAA' } }] },
    { role: 'assistant', content: null, tool_calls: [{ id: 'c1', type: 'function', function: { name: 'look', arguments: '{"at":1}' } }] },
    { role: 'tool', tool_call_id: 'c1', content: 'a cat' },
  ] };
  const response = { choices: [{ message: { role: 'assistant', content: 'A cat.', reasoning_content: 'It has ears', refusal: null } }] };
  check(request, response, ['system: text', 'user: text image', 'assistant: call', 'tool: result', '> assistant: reasoning text']);
  const call = read(request, response)?.messages[2]?.parts[0];
  assert.equal(call?.kind === 'call' && call.input, '{\n  "at": 1\n}');
});

test('items of the Responses API are joined to messages', () => {
  const request = { instructions: 'Be short', input: [{ role: 'user', content: [{ type: 'input_text', text: 'Hi' }] }, { type: 'function_call', call_id: 'c', name: 'f', arguments: '{}' }, { type: 'function_call_output', call_id: 'c', output: '7' }] };
  const response = { output: [{ type: 'reasoning', summary: [], encrypted_content: 'x' }, { type: 'message', role: 'assistant', content: [{ type: 'output_text', text: 'Seven' }] }] };
  check(request, response, ['system: text', 'user: text', 'assistant: call', 'tool: result', '> assistant: reasoning text']);
  check({ input: 'Hi' }, { output: [] }, ['user: text']);
});

test('Anthropic, with thinking that is kept secret and results in the name of the user', () => {
  const request = { system: [{ type: 'text', text: 'Be short' }], messages: [
    { role: 'user', content: 'Hi' },
    { role: 'assistant', content: [{ type: 'tool_use', id: 't', name: 'f', input: { a: 1 } }] },
    { role: 'user', content: [{ type: 'tool_result', tool_use_id: 't', content: [{ type: 'text', text: 'no' }], is_error: true }] },
  ] };
  check(request, { role: 'assistant', content: [{ type: 'redacted_thinking', data: 'x' }, { type: 'text', text: 'Sorry' }] },
    ['system: text', 'user: text', 'assistant: call', 'tool: result', '> assistant: reasoning text']);
});

test('Gemini', () => {
  check({ systemInstruction: { parts: [{ text: 'Be short' }] }, contents: [{ role: 'user', parts: [{ text: 'Hi' }, { inlineData: { mimeType: 'image/jpeg', data: 'AAAA' } }] }] },
    { candidates: [{ content: { role: 'model', parts: [{ text: 'hm', thought: true }, { functionCall: { name: 'f', args: {} } }] } }] },
    ['system: text', 'user: text image', '> assistant: reasoning call']);
});

test('completions, and what is no conversation', () => {
  check({ prompt: 'Once' }, { choices: [{ text: ' upon a time' }] }, ['user: text', '> assistant: text']);
  check({ input: ['a', 'b'] }, { data: [] }, []);
  for (const odd of [null, 'text', 7, [], { messages: 'x' }, { messages: [null, 1] }]) assert.equal(read(odd, odd), null);
});

test('an image that lies elsewhere is named and never loaded', () => {
  const at = (url: string) => read({ messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url } }] }] }, null)?.messages[0]?.parts[0];
  for (const url of ['https://tracker.example/x.png', 'data:image/svg+xml;base64,AAAA', 'data:image/png;base64,AA"><script>', 'javascript:alert(1)']) {
    const part = at(url);
    assert.ok(part?.kind === 'image' && part.data === null, url);
  }
});

test('the gist is one line of what the user said last', () => {
  const talk = read({ messages: [{ role: 'user', content: 'first' }, { role: 'user', content: `a\n  b ${'c'.repeat(300)}` }] }, null);
  assert.ok(talk && gist(talk).startsWith('a b ccc') && gist(talk).length === 120);
});

test('pieces put together are the text, whatever it is made of', () => {
  for (const text of ['', 'short', 'line\n'.repeat(10_000), 'x'.repeat(100_000), '😀'.repeat(30_001), `a${'😀'.repeat(30_001)}`]) {
    const cut = pieces(text, 1_000);
    assert.equal(cut.join(''), text);
    assert.ok(cut.every((piece) => piece.length <= 1_001 && !/[\uD800-\uDBFF]$/.test(piece)));
  }
});

test('occurrences are found regardless of case, and end at some point', () => {
  assert.deepEqual(occurrences('Aba abA', 'aB').at, [0, 4]);
  assert.equal(occurrences('a'.repeat(5_000), 'a').more, true);
  assert.deepEqual(occurrences('abc', ''), { at: [], more: false });
});
