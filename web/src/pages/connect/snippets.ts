/**
 * The swap for each client: the base URL before and after, and a whole call. The addresses are those
 * that `tests/clients` and `examples/worker` hold against released clients; `tests/real/connect` runs
 * each call as it is shown.
 */

export type ClientId = 'curl' | 'python-azure' | 'python' | 'node' | 'anthropic' | 'worker' | 'vercel' | 'langchain';

export interface Where {
  /** Where applications reach the gateway, without a slash at its end. */
  base: string;
  account: string;
  gateway: string;
  /** Azure's. */
  resource: string;
  deployment: string;
}

export interface Snippet {
  before: string;
  after: string;
  /** What the credential is, and where it goes. */
  key: string;
  code: string;
}

export const CLIENTS: { id: ClientId; name: string }[] = [
  { id: 'curl', name: 'curl' },
  { id: 'python-azure', name: 'Python, AzureOpenAI' },
  { id: 'python', name: 'Python, OpenAI' },
  { id: 'node', name: 'JavaScript, openai' },
  { id: 'anthropic', name: 'Anthropic' },
  { id: 'worker', name: 'Cloudflare Worker' },
  { id: 'vercel', name: 'Vercel AI SDK' },
  { id: 'langchain', name: 'LangChain' },
];

/** What every whole call asks, and says of itself. */
const HELLO = 'messages=[{"role": "user", "content": "Hello"}],';
const TENANT = '{"tenantId":"acme"}';
const VERSION = '2024-10-21';

/** A chat with a client of Python's `openai` that is made by `client`. */
const python = (client: string, imported: string, model: string): string => `from openai import ${imported}

${client}
answer = client.chat.completions.create(
    model=${model}
    ${HELLO}
    extra_headers={"cf-aig-metadata": '${TENANT}'},
)
print(answer.choices[0].message.content)`;

export function snippet(client: ClientId, where: Where): Snippet {
  const { base, account, gateway, resource, deployment } = where;
  const root = `${base}/v1/${account}/${gateway}`;
  const azure = `${root}/azure-openai/${resource}`;
  const host = `https://${resource}.openai.azure.com`;
  const key = 'Your Azure key, as ever. It crosses unchanged, and is never on record.';
  switch (client) {
    case 'curl':
      return {
        before: `${host}/openai/deployments/${deployment}/chat/completions`,
        after: `${azure}/${deployment}/chat/completions`,
        key,
        code: `curl '${azure}/${deployment}/chat/completions?api-version=${VERSION}' \\
  -H "api-key: $AZURE_OPENAI_API_KEY" -H 'content-type: application/json' \\
  -H 'cf-aig-metadata: ${TENANT}' \\
  -d '{"messages":[{"role":"user","content":"Hello"}]}'`,
      };
    case 'python-azure':
      return {
        before: host,
        after: azure,
        key,
        code: python(`client = AzureOpenAI(
    azure_endpoint="${azure}",
    api_version="${VERSION}",
)`, 'AzureOpenAI', `"${deployment}",  # the deployment`),
      };
    case 'python':
      return {
        before: 'https://api.openai.com/v1',
        after: `${root}/openai`,
        key: 'OPENAI_API_KEY, as ever.',
        code: python(`client = OpenAI(base_url="${root}/openai")`, 'OpenAI', '"gpt-4o",'),
      };
    case 'node':
      return {
        before: host,
        after: azure,
        key,
        code: `import { AzureOpenAI } from 'openai';

const client = new AzureOpenAI({
  endpoint: '${azure}',
  apiVersion: '${VERSION}',
});
const answer = await client.chat.completions.create({
  model: '${deployment}', // the deployment
  messages: [{ role: 'user', content: 'Hello' }],
});
console.log(answer.choices[0].message.content);`,
      };
    case 'anthropic':
      return {
        before: 'https://api.anthropic.com',
        after: `${root}/anthropic`,
        key: 'ANTHROPIC_API_KEY, as ever.',
        code: `from anthropic import Anthropic

client = Anthropic(base_url="${root}/anthropic")
answer = client.messages.create(
    model="claude-sonnet-4-5",
    max_tokens=256,
    ${HELLO}
)
print(answer.content[0].text)`,
      };
    case 'worker':
      return {
        before: `${host}/openai/deployments/${deployment}`,
        after: `${azure}/${deployment}`,
        key: 'A secret of the Worker. A Worker needs an address that it can reach: not 127.0.0.1.',
        code: `const answer = await fetch('${azure}/${deployment}/chat/completions?api-version=${VERSION}', {
  method: 'POST',
  headers: {
    'api-key': env.AZURE_OPENAI_KEY,
    'content-type': 'application/json',
    'cf-aig-metadata': JSON.stringify({ tenantId: session.tenantId }),
  },
  body: JSON.stringify({ messages, stream: true }),
});
return new Response(answer.body, answer); // streams as it comes`,
      };
    case 'vercel':
      return {
        before: `${host}/openai`,
        after: `${azure}/openai/v1`,
        key,
        code: `import { createAzure } from '@ai-sdk/azure';
import { generateText } from 'ai';

const azure = createAzure({
  baseURL: '${azure}/openai/v1',
});
const { text } = await generateText({ model: azure('${deployment}'), prompt: 'Hello' });
console.log(text);`,
      };
    case 'langchain':
      return {
        before: host,
        after: azure,
        key,
        code: `from langchain_openai import AzureChatOpenAI

model = AzureChatOpenAI(
    azure_endpoint="${azure}",
    azure_deployment="${deployment}",
    api_version="${VERSION}",
)
print(model.invoke("Hello").content)`,
      };
  }
}
