import{A as e,B as t,D as n,G as r,H as i,I as a,J as o,K as s,O as c,Q as l,R as u,U as d,V as f,Z as p,et as m,g as h,l as g,s as _,tt as v,u as y,w as b,x,z as S}from"./disclose-version.js";import{K as C,M as w,T,_ as E,d as D,g as O,y as k}from"./app.js";import{i as A,r as ee,t as j}from"./CostOf.js";import{t as M}from"./CopyButton.js";import{t as N}from"./Page.js";import{t as P}from"./Status.js";var F=[{id:`curl`,name:`curl`},{id:`python-azure`,name:`Python, AzureOpenAI`},{id:`python`,name:`Python, OpenAI`},{id:`node`,name:`JavaScript, openai`},{id:`anthropic`,name:`Anthropic`},{id:`worker`,name:`Cloudflare Worker`},{id:`vercel`,name:`Vercel AI SDK`},{id:`langchain`,name:`LangChain`}],I=`messages=[{"role": "user", "content": "Hello"}],`,L=`{"tenantId":"acme"}`,R=`2024-10-21`,z=(e,t,n)=>`from openai import ${t}

${e}
answer = client.chat.completions.create(
    model=${n}
    ${I}
    extra_headers={"cf-aig-metadata": '${L}'},
)
print(answer.choices[0].message.content)`;function B(e,t){let{base:n,account:r,gateway:i,resource:a,deployment:o}=t,s=`${n}/v1/${r}/${i}`,c=`${s}/azure-openai/${a}`,l=`https://${a}.openai.azure.com`,u=`Your Azure key, as ever. It crosses unchanged, and is never on record.`;switch(e){case`curl`:return{before:`${l}/openai/deployments/${o}/chat/completions`,after:`${c}/${o}/chat/completions`,key:u,code:`curl '${c}/${o}/chat/completions?api-version=${R}' \\
  -H "api-key: $AZURE_OPENAI_API_KEY" -H 'content-type: application/json' \\
  -H 'cf-aig-metadata: ${L}' \\
  -d '{"messages":[{"role":"user","content":"Hello"}]}'`};case`python-azure`:return{before:l,after:c,key:u,code:z(`client = AzureOpenAI(
    azure_endpoint="${c}",
    api_version="${R}",
)`,`AzureOpenAI`,`"${o}",  # the deployment`)};case`python`:return{before:`https://api.openai.com/v1`,after:`${s}/openai`,key:`OPENAI_API_KEY, as ever.`,code:z(`client = OpenAI(base_url="${s}/openai")`,`OpenAI`,`"gpt-4o",`)};case`node`:return{before:l,after:c,key:u,code:`import { AzureOpenAI } from 'openai';

const client = new AzureOpenAI({
  endpoint: '${c}',
  apiVersion: '${R}',
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
    ${I}
)
print(answer.content[0].text)`};case`worker`:return{before:`${l}/openai/deployments/${o}`,after:`${c}/${o}`,key:`A secret of the Worker. A Worker needs an address that it can reach: not 127.0.0.1.`,code:`const answer = await fetch('${c}/${o}/chat/completions?api-version=${R}', {
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
    api_version="${R}",
)
print(model.invoke("Hello").content)`}}}var V=e(`<a class="button svelte-1c4a69b"> </a>`),H=e(`<div class="azure svelte-1c4a69b"><label class="svelte-1c4a69b">Azure resource <input class="field svelte-1c4a69b" spellcheck="false"/></label> <label class="svelte-1c4a69b">Deployment <input class="field svelte-1c4a69b" spellcheck="false"/></label> <p class="dim svelte-1c4a69b">Gateway <strong class="svelte-1c4a69b"> </strong>; another one is chosen above.</p></div>`),te=e(`<li class="svelte-1c4a69b"><a class="svelte-1c4a69b"> </a> <span class="dim svelte-1c4a69b"> </span></li>`),ne=e(`<p class="done svelte-1c4a69b"><!> It works. <a class="svelte-1c4a69b"> </a> </p> <dl class="svelte-1c4a69b"><div class="svelte-1c4a69b"><dt class="svelte-1c4a69b">Status</dt><dd class="svelte-1c4a69b"><!></dd></div> <div class="svelte-1c4a69b"><dt class="svelte-1c4a69b">Total</dt><dd class="svelte-1c4a69b"> </dd></div> <div class="svelte-1c4a69b"><dt class="svelte-1c4a69b">The gateway added</dt><dd class="svelte-1c4a69b"> </dd></div> <div class="svelte-1c4a69b"><dt class="svelte-1c4a69b">Tokens</dt><dd class="svelte-1c4a69b"> </dd></div> <div class="svelte-1c4a69b"><dt class="svelte-1c4a69b">Cost</dt><dd class="svelte-1c4a69b"><!></dd></div></dl> <ol class="svelte-1c4a69b"></ol>`,1),re=e(`<p class="svelte-1c4a69b"><span aria-hidden="true"></span> </p>`),ie=e(`<p class="lead dim svelte-1c4a69b">Body, query, key and answer stay what they were. From the first request on it is on record, with its tokens, its times and its cost.</p> <div class="clients svelte-1c4a69b" role="group" aria-label="Client"></div> <section class="card swap svelte-1c4a69b" aria-label="The swap"><p class="minus svelte-1c4a69b"><span aria-label="before" class="svelte-1c4a69b">−</span><code class="svelte-1c4a69b"> </code></p> <p class="plus svelte-1c4a69b"><span aria-label="after" class="svelte-1c4a69b">+</span><code class="svelte-1c4a69b"> </code> <!></p></section> <!> <section class="card code svelte-1c4a69b" aria-label="A whole call"><div class="copy svelte-1c4a69b"><!></div> <pre tabindex="0" class="svelte-1c4a69b"> </pre> <p class="dim svelte-1c4a69b"> </p></section> <section aria-live="polite" aria-label="The first request"><!></section>`,1);function U(e,I){l(I,!0);let L=o(()=>F.find(e=>e.id===T.get(`client`))?.id??`curl`),R=o(()=>D.gateway??`default`),z=s(`my-resource`),U=s(`chat`),ae=o(()=>![`python`,`anthropic`].includes(a(L))),W=o(()=>B(a(L),{base:D.session?.data_url??``,account:D.account,gateway:a(R),resource:a(z).trim()||`my-resource`,deployment:a(U).trim()||`chat`})),G=s(null),K=s(!1);S(()=>(r(G,null),C({account:D.account,gateway:a(R),filter:``},{row:e=>r(G,a(G)??e),sampled:()=>{},connected:e=>r(K,e,!0)})));let q=o(()=>[{name:`See this request`,text:`what was said, where the time went, why it cost what it did`,href:T.href(`/requests/${a(G)?.id}`)},{name:`Watch them live`,text:`every request of this gateway as it happens`,href:T.href(`/requests`,{live:`1`})},{name:`See who spends what`,text:`send cf-aig-metadata, and group by any of its keys`,href:T.href(`/costs`)}]);N(e,{question:`Change one URL`,children:(e,o)=>{var s=ie(),l=d(f(s),2);x(l,21,()=>F,e=>e.id,(e,t)=>{var r=V(),o=i(r,!0);u(e=>{y(r,`href`,e),y(r,`aria-current`,a(t).id===a(L)?`true`:void 0),n(o,a(t).name)},[()=>T.with({client:a(t).id})]),c(e,r)}),v(l);var p=d(l,2),S=t(p),C=d(t(S)),D=i(C,!0);v(S);var N=d(S,2),I=d(t(N)),B=i(I,!0),oe=d(I,2);M(oe,{what:`address`,get text(){return a(W).after}}),v(N),v(p);var J=d(p,2),se=e=>{var o=H(),s=t(o),l=d(t(s));g(l),v(s);var f=d(s,2),p=d(t(f));g(p),v(f);var h=d(f,2),y=d(t(h)),b=i(y,!0);m(),v(h),v(o),u(()=>n(b,a(R))),_(l,()=>a(z),e=>r(z,e)),_(p,()=>a(U),e=>r(U,e)),c(e,o)};b(J,e=>{a(ae)&&e(se)});var Y=d(J,2),X=t(Y),ce=t(X);M(ce,{what:`call`,get text(){return a(W).code}}),v(X);var Z=d(X,2),le=i(Z,!0),ue=d(Z,2),de=i(ue,!0);v(Y);var Q=d(Y,2);let $;var fe=t(Q),pe=e=>{var r=ne(),o=f(r),s=t(o);w(s,{name:`check`});var l=d(s,2),p=i(l,!0),m=d(l);v(o);var h=d(o,2),g=t(h),_=d(t(g)),b=t(_);P(b,{get of(){return a(G)}}),v(_),v(g);var S=d(g,2),C=d(t(S)),D=i(C,!0);v(S);var M=d(S,2),N=d(t(M)),F=i(N,!0);v(M);var I=d(M,2),L=d(t(I)),R=i(L,!0);v(I);var z=d(I,2),B=d(t(z)),V=t(B);j(V,{get cost(){return a(G).cost},get cache(){return a(G).cache}}),v(B),v(z),v(h);var H=d(h,2);x(H,21,()=>a(q),e=>e.name,(e,r)=>{var o=te(),s=t(o),l=i(s,!0),f=d(s,2),p=i(f,!0);v(o),u(()=>{y(s,`href`,a(r).href),n(l,a(r).name),n(p,a(r).text)}),c(e,o)}),v(H),u((e,t,r,i,o)=>{y(l,`href`,e),n(p,a(G).model_requested??a(G).operation),n(m,` at ${t??``}`),n(D,r),n(F,i),n(R,o)},[()=>T.href(`/requests/${a(G).id}`),()=>O(new Date(a(G).created_at)),()=>k(a(G).timing.total_us),()=>k(a(G).timing.overhead_us),()=>a(G).usage?`${E(ee(a(G).usage))} → ${E(A(a(G).usage))}`:`none told`]),c(e,r)},me=e=>{var r=re(),i=t(r);let o;var s=d(i);v(r),u(()=>{o=h(i,1,`pulse svelte-1c4a69b`,null,o,{on:a(K)}),n(s,` ${a(K)?`Waiting for the first request through ${a(R)}. It appears here by itself.`:`Connecting to Isango…`}`)}),c(e,r)};b(fe,e=>{a(G)?e(pe):e(me,-1)}),v(Q),u(()=>{n(D,a(W).before),n(B,a(W).after),n(le,a(W).code),n(de,a(W).key),$=h(Q,1,`card wait svelte-1c4a69b`,null,$,{here:a(G)})}),c(e,s)},$$slots:{default:!0}}),p()}export{U as default};