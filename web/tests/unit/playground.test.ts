import assert from 'node:assert/strict';
import { test } from 'node:test';
import { delta, Events, formatOf, keyHeader, refused, withModel, written, type Prompt } from '../../src/pages/playground/formats';

const PROMPT: Prompt = { system: 'Be short', user: 'Hi', temperature: 0.2, most: 50, stream: true };

test('a prompt is written in the format of the path', () => {
  for (const [path, format, members] of [
    ['azure-openai/r/chat/chat/completions?api-version=1', 'chat', 'messages,temperature,max_completion_tokens,stream'],
    ['openai/responses', 'responses', 'model,instructions,input,temperature,max_output_tokens,stream'],
    ['anthropic/v1/messages', 'anthropic', 'model,system,messages,max_tokens,temperature,stream'],
    ['google-ai-studio/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse', 'gemini', 'systemInstruction,contents,generationConfig'],
  ] as const) {
    assert.equal(formatOf(path), format);
    assert.equal(Object.keys(JSON.parse(written(path, format === 'chat' || format === 'gemini' ? '' : 'm', PROMPT))).join(), members);
  }
  const bare = JSON.parse(written('openai/chat/completions', 'm', { ...PROMPT, system: '', temperature: null, most: null }));
  assert.deepEqual(bare, { model: 'm', messages: [{ role: 'user', content: 'Hi' }], stream: true });
});

test('a body gets another model, and nothing else', () => {
  assert.deepEqual(JSON.parse(withModel('{"model":"a","x":1}', 'b')), { model: 'b', x: 1 });
  for (const same of ['[1]', 'no json', '{"x":1}']) assert.equal(withModel(same, same === '{"x":1}' ? '' : 'b'), same);
});

test('a key goes where its provider looks for it', () => {
  for (const [path, header] of [['azure-openai/r', 'api-key'], ['anthropic/v1', 'x-api-key'], ['google-ai-studio/v1', 'x-goog-api-key'], ['groq/chat', 'authorization']] as const) {
    assert.deepEqual(Object.keys(keyHeader(path, 'k')), [header]);
  }
  assert.deepEqual(keyHeader('openai/x', ''), {});
});

test('events are the same, wherever a stream is cut', () => {
  const whole = 'data: {"a":1}\n\n: comment\n\nevent: x\r\ndata: two\r\ndata: lines\r\n\r\ndata:[DONE]\n\n';
  for (let at = 0; at <= whole.length; at += 1) {
    const events = new Events();
    assert.deepEqual([...events.take(whole.slice(0, at)), ...events.take(whole.slice(at))], ['{"a":1}', 'two\nlines', '[DONE]'], String(at));
  }
});

test('what an event adds is read in every format, and nothing else of it', () => {
  for (const [event, text] of [
    [{ choices: [{ delta: { content: 'Hi' } }] }, 'Hi'],
    [{ choices: [{ delta: { role: 'assistant' } }] }, ''],
    [{ choices: [], usage: {} }, ''],
    [{ type: 'content_block_delta', delta: { type: 'text_delta', text: 'Hi' } }, 'Hi'],
    [{ type: 'content_block_delta', delta: { type: 'thinking_delta', thinking: 'hm' } }, ''],
    [{ candidates: [{ content: { parts: [{ text: 'hm', thought: true }, { text: 'Hi' }] } }] }, 'Hi'],
    [{ type: 'response.output_text.delta', delta: 'Hi' }, 'Hi'],
  ] as const) {
    assert.equal(delta(JSON.stringify(event)), text);
  }
  assert.equal(delta('[DONE]'), '');
  assert.equal(refused('{"error":{"message":"no such model"}}'), 'no such model');
  assert.equal(refused('oops'), 'oops');
});
