import{$ as e,A as t,B as n,D as r,G as i,H as a,I as o,K as s,O as c,Q as l,R as u,U as d,V as f,X as p,Z as m,g as h,l as g,q as _,s as v,u as y,w as b,x,z as S}from"./disclose-version.js";import{A as C,B as w,C as T,_ as E,h as D,l as O,m as ee}from"./app.js";import{i as te,o as k,s as A,t as j}from"./Status.js";import{t as M}from"./CopyButton.js";import{t as N}from"./Page.js";var P=[{id:`curl`,name:`curl`},{id:`python-azure`,name:`Python, AzureOpenAI`},{id:`python`,name:`Python, OpenAI`},{id:`node`,name:`JavaScript, openai`},{id:`anthropic`,name:`Anthropic`},{id:`worker`,name:`Cloudflare Worker`},{id:`vercel`,name:`Vercel AI SDK`},{id:`langchain`,name:`LangChain`}];function F(e,t){let{base:n,account:r,gateway:i,resource:a,deployment:o}=t,s=`${n}/v1/${r}/${i}`,c=`${s}/azure-openai/${a}`,l=`https://${a}.openai.azure.com`,u=`Your Azure key, as ever. It crosses unchanged, and is never on record.`;switch(e){case`curl`:return{before:`${l}/openai/deployments/${o}/chat/completions`,after:`${c}/${o}/chat/completions`,key:u,code:`curl '${c}/${o}/chat/completions?api-version=2024-10-21' \\
  -H "api-key: $AZURE_OPENAI_API_KEY" -H 'content-type: application/json' \\
  -H 'cf-aig-metadata: {"tenantId":"acme"}' \\
  -d '{"messages":[{"role":"user","content":"Hello"}]}'`};case`python-azure`:return{before:l,after:c,key:u,code:`from openai import AzureOpenAI

client = AzureOpenAI(
    azure_endpoint="${c}",
    api_version="2024-10-21",
)
answer = client.chat.completions.create(
    model="${o}",  # the deployment
    messages=[{"role": "user", "content": "Hello"}],
    extra_headers={"cf-aig-metadata": '{"tenantId":"acme"}'},
)
print(answer.choices[0].message.content)`};case`python`:return{before:`https://api.openai.com/v1`,after:`${s}/openai`,key:`OPENAI_API_KEY, as ever.`,code:`from openai import OpenAI

client = OpenAI(base_url="${s}/openai")
answer = client.chat.completions.create(
    model="gpt-4o",
    messages=[{"role": "user", "content": "Hello"}],
    extra_headers={"cf-aig-metadata": '{"tenantId":"acme"}'},
)
print(answer.choices[0].message.content)`};case`node`:return{before:l,after:c,key:u,code:`import { AzureOpenAI } from 'openai';

const client = new AzureOpenAI({
  endpoint: '${c}',
  apiVersion: '2024-10-21',
});
const answer = await client.chat.completions.create({
  model: '${o}', // the deployment
  messages: [{ role: 'user', content: 'Hello' }],
});
console.log(answer.choices[0].message.content);`};case`anthropic`:return{before:`https://api.anthropic.com`,after:`${s}/anthropic`,key:`ANTHROPIC_API_KEY, as ever.`,code:`from anthropic import Anthropic

client = Anthropic(base_url="${s}/anthropic")
answer = client.messages.create(
    model="claude-sonnet-4-5",
    max_tokens=256,
    messages=[{"role": "user", "content": "Hello"}],
)
print(answer.content[0].text)`};case`worker`:return{before:`${l}/openai/deployments/${o}`,after:`${c}/${o}`,key:`A secret of the Worker. A Worker needs an address that it can reach: not 127.0.0.1.`,code:`const answer = await fetch('${c}/${o}/chat/completions?api-version=2024-10-21', {
  method: 'POST',
  headers: {
    'api-key': env.AZURE_OPENAI_KEY,
    'content-type': 'application/json',
    'cf-aig-metadata': JSON.stringify({ tenantId: session.tenantId }),
  },
  body: JSON.stringify({ messages, stream: true }),
});
return new Response(answer.body, answer); // streams as it comes`};case`vercel`:return{before:`${l}/openai`,after:`${c}/openai/v1`,key:u,code:`import { createAzure } from '@ai-sdk/azure';
import { generateText } from 'ai';

const azure = createAzure({
  baseURL: '${c}/openai/v1',
});
const { text } = await generateText({ model: azure('${o}'), prompt: 'Hello' });
console.log(text);`};case`langchain`:return{before:l,after:c,key:u,code:`from langchain_openai import AzureChatOpenAI

model = AzureChatOpenAI(
    azure_endpoint="${c}",
    azure_deployment="${o}",
    api_version="2024-10-21",
)
print(model.invoke("Hello").content)`}}}var I=t(`<a class="button svelte-1c4a69b"> </a>`),L=t(`<div class="azure svelte-1c4a69b"><label class="svelte-1c4a69b">Azure resource <input class="field svelte-1c4a69b" spellcheck="false"/></label> <label class="svelte-1c4a69b">Deployment <input class="field svelte-1c4a69b" spellcheck="false"/></label> <p class="dim svelte-1c4a69b">Gateway <strong class="svelte-1c4a69b"> </strong>; another one is chosen above.</p></div>`),ne=t(`<li class="svelte-1c4a69b"><a class="svelte-1c4a69b"> </a> <span class="dim svelte-1c4a69b"> </span></li>`),re=t(`<p class="done svelte-1c4a69b"><!> It works. <a class="svelte-1c4a69b"> </a> </p> <dl class="svelte-1c4a69b"><div class="svelte-1c4a69b"><dt class="svelte-1c4a69b">Status</dt><dd class="svelte-1c4a69b"><!></dd></div> <div class="svelte-1c4a69b"><dt class="svelte-1c4a69b">Total</dt><dd class="svelte-1c4a69b"> </dd></div> <div class="svelte-1c4a69b"><dt class="svelte-1c4a69b">The gateway added</dt><dd class="svelte-1c4a69b"> </dd></div> <div class="svelte-1c4a69b"><dt class="svelte-1c4a69b">Tokens</dt><dd class="svelte-1c4a69b"> </dd></div> <div class="svelte-1c4a69b"><dt class="svelte-1c4a69b">Cost</dt><dd class="svelte-1c4a69b"><!></dd></div></dl> <ol class="svelte-1c4a69b"></ol>`,1),R=t(`<p class="svelte-1c4a69b"><span aria-hidden="true"></span> </p>`),z=t(`<p class="lead dim svelte-1c4a69b">Body, query, key and answer stay what they were. From the first request on it is on record, with its tokens, its times and its cost.</p> <div class="clients svelte-1c4a69b" role="group" aria-label="Client"></div> <section class="card swap svelte-1c4a69b" aria-label="The swap"><p class="minus svelte-1c4a69b"><span aria-label="before" class="svelte-1c4a69b">−</span><code class="svelte-1c4a69b"> </code></p> <p class="plus svelte-1c4a69b"><span aria-label="after" class="svelte-1c4a69b">+</span><code class="svelte-1c4a69b"> </code> <!></p></section> <!> <section class="card code svelte-1c4a69b" aria-label="A whole call"><div class="copy svelte-1c4a69b"><!></div> <pre tabindex="0" class="svelte-1c4a69b"> </pre> <p class="dim svelte-1c4a69b"> </p></section> <section aria-live="polite" aria-label="The first request"><!></section>`,1);function B(t,B){m(B,!0);let V=_(()=>P.find(e=>e.id===T.get(`client`))?.id??`curl`),H=_(()=>O.gateway??`default`),U=s(`my-resource`),W=s(`chat`),ie=_(()=>![`python`,`anthropic`].includes(o(V))),G=_(()=>F(o(V),{base:O.session?.data_url??``,account:O.account,gateway:o(H),resource:o(U).trim()||`my-resource`,deployment:o(W).trim()||`chat`})),K=s(null),q=s(!1);S(()=>(i(K,null),w({account:O.account,gateway:o(H),filter:``},{row:e=>i(K,o(K)??e),sampled:()=>{},connected:e=>i(q,e,!0)})));let ae=_(()=>[{name:`See this request`,text:`what was said, where the time went, why it cost what it did`,href:T.href(`/requests/${o(K)?.id}`)},{name:`Watch them live`,text:`every request of this gateway as it happens`,href:T.href(`/requests`,{live:`1`})},{name:`See who spends what`,text:`send cf-aig-metadata, and group by any of its keys`,href:T.href(`/costs`)}]);N(t,{question:`Change one URL`,children:(t,s)=>{var p=z(),m=d(f(p),2);x(m,21,()=>P,e=>e.id,(e,t)=>{var n=I(),i=a(n,!0);u(e=>{y(n,`href`,e),y(n,`aria-current`,o(t).id===o(V)?`true`:void 0),r(i,o(t).name)},[()=>T.with({client:o(t).id})]),c(e,n)}),e(m);var _=d(m,2),S=n(_),w=d(n(S)),O=a(w,!0);e(S);var N=d(S,2),F=d(n(N)),B=a(F,!0),oe=d(F,2);M(oe,{what:`address`,get text(){return o(G).after}}),e(N),e(_);var J=d(_,2),se=t=>{var s=L(),f=n(s),p=d(n(f));g(p),e(f);var m=d(f,2),h=d(n(m));g(h),e(m);var _=d(m,2),y=d(n(_)),b=a(y,!0);l(),e(_),e(s),u(()=>r(b,o(H))),v(p,()=>o(U),e=>i(U,e)),v(h,()=>o(W),e=>i(W,e)),c(t,s)};b(J,e=>{o(ie)&&e(se)});var Y=d(J,2),X=n(Y),ce=n(X);M(ce,{what:`call`,get text(){return o(G).code}}),e(X);var Z=d(X,2),le=a(Z,!0),ue=d(Z,2),de=a(ue,!0);e(Y);var Q=d(Y,2);let $;var fe=n(Q),pe=t=>{var i=re(),s=f(i),l=n(s);C(l,{name:`check`});var p=d(l,2),m=a(p,!0),h=d(p);e(s);var g=d(s,2),_=n(g),v=d(n(_)),b=n(v);j(b,{get of(){return o(K)}}),e(v),e(_);var S=d(_,2),w=d(n(S)),O=a(w,!0);e(S);var M=d(S,2),N=d(n(M)),P=a(N,!0);e(M);var F=d(M,2),I=d(n(F)),L=a(I,!0);e(F);var R=d(F,2),z=d(n(R)),B=n(z);te(B,{get cost(){return o(K).cost},get cache(){return o(K).cache}}),e(z),e(R),e(g);var V=d(g,2);x(V,21,()=>o(ae),e=>e.name,(t,i)=>{var s=ne(),l=n(s),f=a(l,!0),p=d(l,2),m=a(p,!0);e(s),u(()=>{y(l,`href`,o(i).href),r(f,o(i).name),r(m,o(i).text)}),c(t,s)}),e(V),u((e,t,n,i,a)=>{y(p,`href`,e),r(m,o(K).model_requested??o(K).operation),r(h,` at ${t??``}`),r(O,n),r(P,i),r(L,a)},[()=>T.href(`/requests/${o(K).id}`),()=>ee(new Date(o(K).created_at)),()=>E(o(K).timing.total_us),()=>E(o(K).timing.overhead_us),()=>o(K).usage?`${D(k(o(K).usage))} → ${D(A(o(K).usage))}`:`none told`]),c(t,i)},me=t=>{var i=R(),a=n(i);let s;var l=d(a);e(i),u(()=>{s=h(a,1,`pulse svelte-1c4a69b`,null,s,{on:o(q)}),r(l,` ${o(q)?`Waiting for the first request through ${o(H)}. It appears here by itself.`:`Connecting to Isango…`}`)}),c(t,i)};b(fe,e=>{o(K)?e(pe):e(me,-1)}),e(Q),u(()=>{r(O,o(G).before),r(B,o(G).after),r(le,o(G).code),r(de,o(G).key),$=h(Q,1,`card wait svelte-1c4a69b`,null,$,{here:o(K)})}),c(t,p)},$$slots:{default:!0}}),p()}export{B as default};