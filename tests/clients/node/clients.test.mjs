// The official JavaScript clients through a running gateway; only their base URL is changed.
//
// Reads ISANGO_GATEWAY, the address up to and with the gateway's id, and appends to ISANGO_REPORT a
// JSON line for each request that must be on record.

import assert from 'node:assert/strict';
import { appendFileSync } from 'node:fs';
import { env } from 'node:process';
import { test } from 'node:test';

import { createAzure } from '@ai-sdk/azure';
import { embedMany, generateText, streamText } from 'ai';
import OpenAI, { AzureOpenAI } from 'openai';

const GATEWAY = env.ISANGO_GATEWAY;
const AZURE = `${GATEWAY}/azure-openai/aoai-test`;
const VERSION = '2024-10-21';
const KEY = 'planted-key-node';
const PROMPT = [{ role: 'user', content: 'Which way does the gate open?' }];
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

// The header by which the record of a request is found again.
const metadata = (name) => ({
  'cf-aig-metadata': JSON.stringify({ case: name, client: 'node' }),
});

// Checks the gateway's answer headers and notes what must be on record.
function onRecord(name, headers, expected) {
  const header = (key) => (headers.get ? headers.get(key) : headers[key]);
  for (const key of ['cf-aig-request-id', 'cf-aig-log-id', 'cf-aig-event-id']) {
    assert.match(header(key) ?? '', UUID, key);
  }
  const line = { stream: false, deployment: null, usage: true, ...expected };
  const id = header('cf-aig-log-id');
  appendFileSync(env.ISANGO_REPORT, `${JSON.stringify({ id, case: name, ...line })}\n`);
}

async function chat(name, client, { model, ...expected }) {
  const asked = client.chat.completions.create(
    { model, messages: PROMPT },
    { headers: metadata(name) },
  );
  const { data, response } = await asked.withResponse();
  onRecord(name, response.headers, expected);
  assert.ok(data.choices[0].message.content);
  assert.equal(data.choices[0].finish_reason, 'stop');
  const { prompt_tokens, completion_tokens, total_tokens } = data.usage;
  assert.equal(prompt_tokens + completion_tokens, total_tokens);
}

async function chatStream(name, client, { model, askUsage, ...expected }) {
  const options = askUsage ? { stream_options: { include_usage: true } } : {};
  const asked = client.chat.completions.create(
    { model, messages: PROMPT, stream: true, ...options },
    { headers: metadata(name) },
  );
  const { data, response } = await asked.withResponse();
  onRecord(name, response.headers, { ...expected, stream: true });
  const chunks = [];
  for await (const chunk of data) chunks.push(chunk);
  const choices = chunks.flatMap((chunk) => chunk.choices);
  assert.ok(choices.map((choice) => choice.delta.content ?? '').join(''));
  assert.equal(choices.at(-1).finish_reason, 'stop');
  // The gateway asks for usage where the client did not, and keeps the extra chunk to itself.
  assert.equal(chunks.filter((chunk) => chunk.usage).length, askUsage ? 1 : 0);
}

async function embeddings(name, client, { model, ...expected }) {
  const asked = client.embeddings.create(
    { model, input: ['one', 'two'] },
    { headers: metadata(name) },
  );
  const { data, response } = await asked.withResponse();
  onRecord(name, response.headers, expected);
  assert.deepEqual(data.data.map((item) => item.index), [0, 1]);
  assert.ok(data.data[0].embedding.length > 8);
}

async function responses(name, client, { model, ...expected }) {
  const asked = client.responses.create(
    { model, input: 'Which way does the gate open?' },
    { headers: metadata(name) },
  );
  const { data, response } = await asked.withResponse();
  onRecord(name, response.headers, expected);
  assert.equal(data.status, 'completed');
  assert.ok(data.output_text);
}

async function responsesStream(name, client, { model, ...expected }) {
  const asked = client.responses.create(
    { model, input: 'Which way does the gate open?', stream: true },
    { headers: metadata(name) },
  );
  const { data, response } = await asked.withResponse();
  onRecord(name, response.headers, { ...expected, stream: true });
  const events = [];
  for await (const event of data) events.push(event);
  const deltas = events.filter((event) => event.type === 'response.output_text.delta');
  assert.ok(deltas.map((event) => event.delta).join(''));
  assert.equal(events.at(-1).type, 'response.completed');
}

async function models(name, client, expected) {
  const { data, response } = await client.models
    .list({ headers: metadata(name) })
    .withResponse();
  onRecord(name, response.headers, { ...expected, usage: false });
  assert.ok(data.data.length > 0);
}

// Every check that `client` can pass. `deployment` tells what the path names for chat, `embed` the
// client for embeddings; `whole` whether it also reaches what is not per deployment.
function suite(name, client, { provider, model, embedModel, deployment, embed, whole }) {
  const plan = (what, check, ...rest) => {
    test(`${name}: ${what}`, () => check(`${name}: ${what}`, ...rest));
  };
  const expected = { provider, deployment, model };
  plan('chat', chat, client, expected);
  plan('chat stream', chatStream, client, expected);
  plan('chat stream with usage', chatStream, client, { ...expected, askUsage: true });
  const embedDeployment = deployment && embedModel;
  const embedding = { provider, deployment: embedDeployment, model: embedModel };
  plan('embeddings', embeddings, embed ?? client, embedding);
  if (whole) {
    plan('responses', responses, client, { provider, model });
    plan('responses stream', responsesStream, client, { provider, model });
    plan('models', models, client, { provider });
  }
}

// Azure in every base-URL spelling.
{
  const azure = (settings) =>
    new AzureOpenAI({
      apiVersion: VERSION,
      maxRetries: 0,
      ...(settings.azureADTokenProvider ? {} : { apiKey: KEY }),
      ...settings,
    });
  const plain = (deployment) =>
    new OpenAI({
      baseURL: `${AZURE}/${deployment}`,
      apiKey: KEY,
      defaultQuery: { 'api-version': VERSION },
      defaultHeaders: { 'api-key': KEY },
      maxRetries: 0,
    });
  const names = {
    provider: 'azure-openai',
    model: 'chat',
    embedModel: 'embed',
    deployment: 'chat',
  };
  const whole = { ...names, whole: true };
  suite('OpenAI baseURL=res/dep', plain('chat'), { ...names, embed: plain('embed') });
  suite('AzureOpenAI baseURL=res/', azure({ baseURL: `${AZURE}/` }), whole);
  suite('AzureOpenAI baseURL=res', azure({ baseURL: AZURE }), whole);
  suite('AzureOpenAI baseURL=res/dep', azure({ baseURL: `${AZURE}/chat` }), names);
  suite('AzureOpenAI endpoint', azure({ endpoint: AZURE }), whole);
  suite('AzureOpenAI endpoint/', azure({ endpoint: `${AZURE}/` }), whole);
  suite('AzureOpenAI deployment', azure({ endpoint: AZURE, deployment: 'chat' }), {
    ...whole,
    embed: azure({ endpoint: AZURE, deployment: 'embed' }),
  });
  const azureADTokenProvider = async () => 'planted-entra-token';
  suite('AzureOpenAI token', azure({ endpoint: AZURE, azureADTokenProvider }), whole);
}

// OpenAI in every base-URL spelling.
for (const end of ['openai', 'openai/', 'openai/v1', 'openai/v1/']) {
  const client = new OpenAI({ baseURL: `${GATEWAY}/${end}`, apiKey: KEY, maxRetries: 0 });
  suite(`OpenAI baseURL=${end}`, client, {
    provider: 'openai',
    model: 'gpt-4o',
    embedModel: 'text-embedding-3-small',
    whole: true,
  });
}

// Vercel's AI SDK.
{
  const deployments = createAzure({
    baseURL: AZURE,
    apiKey: KEY,
    apiVersion: VERSION,
    useDeploymentBasedUrls: true,
  });
  const newest = createAzure({ baseURL: `${AZURE}/openai/v1`, apiKey: KEY });
  const spellings = [
    ['createAzure deployments chat', deployments.chat('chat'), 'chat'],
    ['createAzure v1 chat', newest.chat('chat'), null],
    ['createAzure v1 responses', newest('chat'), null],
  ];
  for (const [spelling, model, deployment] of spellings) {
    const expected = { provider: 'azure-openai', deployment };
    const whole = `${spelling}: whole`;
    test(whole, async () => {
      const { text, finishReason, usage, response } = await generateText({
        model,
        messages: PROMPT,
        headers: metadata(whole),
        maxRetries: 0,
      });
      onRecord(whole, response.headers, expected);
      assert.ok(text);
      assert.equal(finishReason, 'stop');
      assert.ok(usage.inputTokens > 0 && usage.outputTokens > 0);
    });
    const streamed = `${spelling}: stream`;
    test(streamed, async () => {
      const failures = [];
      const result = streamText({
        model,
        messages: PROMPT,
        headers: metadata(streamed),
        maxRetries: 0,
        onError: ({ error }) => failures.push(error),
      });
      const deltas = [];
      for await (const delta of result.textStream) deltas.push(delta);
      assert.deepEqual(failures, []);
      assert.ok(deltas.length > 1 && deltas.join(''));
      assert.equal(await result.finishReason, 'stop');
      onRecord(streamed, (await result.response).headers, { ...expected, stream: true });
    });
  }
  const embedded = 'createAzure deployments: embeddings';
  test(embedded, async () => {
    const { embeddings: vectors, responses: answers } = await embedMany({
      model: deployments.textEmbeddingModel('embed'),
      values: ['one', 'two'],
      headers: metadata(embedded),
      maxRetries: 0,
    });
    assert.equal(vectors.length, 2);
    onRecord(embedded, answers[0].headers, { provider: 'azure-openai', deployment: 'embed' });
  });
}

// No client at all.
for (const stream of [false, true]) {
  const name = `fetch: ${stream ? 'stream' : 'whole'}`;
  test(name, async () => {
    const response = await fetch(`${AZURE}/chat/chat/completions?api-version=${VERSION}`, {
      method: 'POST',
      headers: { 'api-key': KEY, 'content-type': 'application/json', ...metadata(name) },
      body: JSON.stringify({ messages: PROMPT, stream }),
    });
    assert.equal(response.status, 200);
    onRecord(name, response.headers, { provider: 'azure-openai', deployment: 'chat', stream });
    const text = await response.text();
    if (stream) {
      assert.ok(text.startsWith('data: {') && text.endsWith('data: [DONE]\n\n'), text);
    } else {
      assert.ok(JSON.parse(text).choices[0].message.content);
    }
  });
}
