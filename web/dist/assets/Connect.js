import{$ as e,B as t,H as n,K as r,L as i,O as a,Q as o,S as s,T as c,U as l,V as u,W as d,Y as f,_ as p,c as m,d as h,j as g,k as _,nt as v,q as y,tt as b,u as x,z as S}from"./disclose-version.js";import{N as C,T as w,_ as T,d as E,g as D,q as O,y as k}from"./app.js";import{i as A,r as j,t as ee}from"./CostOf.js";import{t as M}from"./CopyButton.js";import{t as N}from"./Page.js";import{t as te}from"./Status.js";var P=[{id:`curl`,name:`curl`},{id:`python-azure`,name:`Python, AzureOpenAI`},{id:`python`,name:`Python, OpenAI`},{id:`node`,name:`JavaScript, openai`},{id:`anthropic`,name:`Anthropic`},{id:`worker`,name:`Cloudflare Worker`},{id:`vercel`,name:`Vercel AI SDK`},{id:`langchain`,name:`LangChain`}],F=`messages=[{"role": "user", "content": "Hello"}],`,I=`{"tenantId":"acme"}`,L=`2024-10-21`,R=(e,t,n)=>`from openai import ${t}

${e}
answer = client.chat.completions.create(
    model=${n}
    ${F}
    extra_headers={"cf-aig-metadata": '${I}'},
)
print(answer.choices[0].message.content)`;function z(e,t){let{base:n,account:r,gateway:i,resource:a,deployment:o}=t,s=`${n}/v1/${r}/${i}`,c=`${s}/azure-openai/${a}`,l=`https://${a}.openai.azure.com`,u=`Your Azure key, as ever. It crosses unchanged, and is never on record.`;switch(e){case`curl`:return{before:`${l}/openai/deployments/${o}/chat/completions`,after:`${c}/${o}/chat/completions`,key:u,code:`curl '${c}/${o}/chat/completions?api-version=${L}' \\
  -H "api-key: $AZURE_OPENAI_API_KEY" -H 'content-type: application/json' \\
  -H 'cf-aig-metadata: ${I}' \\
  -d '{"messages":[{"role":"user","content":"Hello"}]}'`};case`python-azure`:return{before:l,after:c,key:u,code:R(`client = AzureOpenAI(
    azure_endpoint="${c}",
    api_version="${L}",
)`,`AzureOpenAI`,`"${o}",  # the deployment`)};case`python`:return{before:`https://api.openai.com/v1`,after:`${s}/openai`,key:`OPENAI_API_KEY, as ever.`,code:R(`client = OpenAI(base_url="${s}/openai")`,`OpenAI`,`"gpt-4o",`)};case`node`:return{before:l,after:c,key:u,code:`import { AzureOpenAI } from 'openai';

const client = new AzureOpenAI({
  endpoint: '${c}',
  apiVersion: '${L}',
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
    ${F}
)
print(answer.content[0].text)`};case`worker`:return{before:`${l}/openai/deployments/${o}`,after:`${c}/${o}`,key:`A secret of the Worker. A Worker needs an address that it can reach: not 127.0.0.1.`,code:`const answer = await fetch('${c}/${o}/chat/completions?api-version=${L}', {
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
    api_version="${L}",
)
print(model.invoke("Hello").content)`}}}var B=g(`<a class="button svelte-1c4a69b"> </a>`),V=g(`<div class="azure svelte-1c4a69b"><label class="svelte-1c4a69b">Azure resource <input class="field svelte-1c4a69b" spellcheck="false"/></label> <label class="svelte-1c4a69b">Deployment <input class="field svelte-1c4a69b" spellcheck="false"/></label> <p class="dim svelte-1c4a69b">Gateway <strong class="svelte-1c4a69b"> </strong>; another one is chosen above.</p></div>`),ne=g(`<li class="svelte-1c4a69b"><a class="svelte-1c4a69b"> </a> <span class="dim svelte-1c4a69b"> </span></li>`),re=g(`<p class="done svelte-1c4a69b"><!> It works. <a class="svelte-1c4a69b"> </a> </p> <dl class="svelte-1c4a69b"><div class="svelte-1c4a69b"><dt class="svelte-1c4a69b">Status</dt><dd class="svelte-1c4a69b"><!></dd></div> <div class="svelte-1c4a69b"><dt class="svelte-1c4a69b">Total</dt><dd class="svelte-1c4a69b"> </dd></div> <div class="svelte-1c4a69b"><dt class="svelte-1c4a69b">The gateway added</dt><dd class="svelte-1c4a69b"> </dd></div> <div class="svelte-1c4a69b"><dt class="svelte-1c4a69b">Tokens</dt><dd class="svelte-1c4a69b"> </dd></div> <div class="svelte-1c4a69b"><dt class="svelte-1c4a69b">Cost</dt><dd class="svelte-1c4a69b"><!></dd></div></dl> <ol class="svelte-1c4a69b"></ol>`,1),ie=g(`<p class="svelte-1c4a69b"><span aria-hidden="true"></span> </p>`),ae=g(`<p class="lead dim svelte-1c4a69b">Body, query, key and answer stay what they were. From the first request on it is on record, with its tokens, its times and its cost.</p> <div class="clients svelte-1c4a69b" role="group" aria-label="Client"></div> <section class="card swap svelte-1c4a69b" aria-label="The swap"><p class="minus svelte-1c4a69b"><span aria-label="before" class="svelte-1c4a69b">−</span><code class="svelte-1c4a69b"> </code></p> <p class="plus svelte-1c4a69b"><span aria-label="after" class="svelte-1c4a69b">+</span><code class="svelte-1c4a69b"> </code> <!></p></section> <!> <section class="card code svelte-1c4a69b" aria-label="A whole call"><div class="copy svelte-1c4a69b"><!></div> <pre tabindex="0" class="svelte-1c4a69b"> </pre> <p class="dim svelte-1c4a69b"> </p></section> <section aria-live="polite" aria-label="The first request"><!></section>`,1);function H(g,F){e(F,!0);let I=f(()=>P.find(e=>e.id===w.get(`client`))?.id??`curl`),L=f(()=>E.gateway??`default`),R=y(`my-resource`),H=y(`chat`),oe=f(()=>![`python`,`anthropic`].includes(i(I))),U=f(()=>z(i(I),{base:E.session?.data_url??``,account:E.account,gateway:i(L),resource:i(R).trim()||`my-resource`,deployment:i(H).trim()||`chat`})),W=y(null),G=y(!1);t(()=>(r(W,null),O({account:E.account,gateway:i(L),filter:``},{row:e=>r(W,i(W)??e),sampled:()=>{},connected:e=>r(G,e,!0)})));let K=f(()=>[{name:`See this request`,text:`what was said, where the time went, why it cost what it did`,href:w.href(`/requests/${i(W)?.id}`)},{name:`Watch them live`,text:`every request of this gateway as it happens`,href:w.href(`/requests`,{live:`1`})},{name:`See who spends what`,text:`send cf-aig-metadata, and group by any of its keys`,href:w.href(`/costs`)}]);N(g,{question:`Change one URL`,children:(e,t)=>{var o=ae(),f=d(n(o),2);s(f,21,()=>P,e=>e.id,(e,t)=>{var n=B(),r=l(n,!0);S(e=>{h(n,`href`,e),h(n,`aria-current`,i(t).id===i(I)?`true`:void 0),a(r,i(t).name)},[()=>w.with({client:i(t).id})]),_(e,n)}),v(f);var g=d(f,2),y=u(g),E=d(u(y)),O=l(E,!0);v(y);var N=d(y,2),F=d(u(N)),z=l(F,!0),se=d(F,2);M(se,{what:`address`,get text(){return i(U).after}}),v(N),v(g);var q=d(g,2),ce=e=>{var t=V(),n=u(t),o=d(u(n));x(o),v(n);var s=d(n,2),c=d(u(s));x(c),v(s);var f=d(s,2),p=d(u(f)),h=l(p,!0);b(),v(f),v(t),S(()=>a(h,i(L))),m(o,()=>i(R),e=>r(R,e)),m(c,()=>i(H),e=>r(H,e)),_(e,t)};c(q,e=>{i(oe)&&e(ce)});var J=d(q,2),Y=u(J),le=u(Y);M(le,{what:`call`,get text(){return i(U).code}}),v(Y);var X=d(Y,2),ue=l(X,!0),de=d(X,2),Z=l(de,!0);v(J);var Q=d(J,2);let $;var fe=u(Q),pe=e=>{var t=re(),r=n(t),o=u(r);C(o,{name:`check`});var c=d(o,2),f=l(c,!0),p=d(c);v(r);var m=d(r,2),g=u(m),y=d(u(g)),b=u(y);te(b,{get of(){return i(W)}}),v(y),v(g);var x=d(g,2),E=d(u(x)),O=l(E,!0);v(x);var M=d(x,2),N=d(u(M)),P=l(N,!0);v(M);var F=d(M,2),I=d(u(F)),L=l(I,!0);v(F);var R=d(F,2),z=d(u(R)),B=u(z);ee(B,{get cost(){return i(W).cost},get cache(){return i(W).cache}}),v(z),v(R),v(m);var V=d(m,2);s(V,21,()=>i(K),e=>e.name,(e,t)=>{var n=ne(),r=u(n),o=l(r,!0),s=d(r,2),c=l(s,!0);v(n),S(()=>{h(r,`href`,i(t).href),a(o,i(t).name),a(c,i(t).text)}),_(e,n)}),v(V),S((e,t,n,r,o)=>{h(c,`href`,e),a(f,i(W).model_requested??i(W).operation),a(p,` at ${t??``}`),a(O,n),a(P,r),a(L,o)},[()=>w.href(`/requests/${i(W).id}`),()=>D(new Date(i(W).created_at)),()=>k(i(W).timing.total_us),()=>k(i(W).timing.overhead_us),()=>i(W).usage?`${T(j(i(W).usage))} → ${T(A(i(W).usage))}`:`none told`]),_(e,t)},me=e=>{var t=ie(),n=u(t);let r;var o=d(n);v(t),S(()=>{r=p(n,1,`pulse svelte-1c4a69b`,null,r,{on:i(G)}),a(o,` ${i(G)?`Waiting for the first request through ${i(L)}. It appears here by itself.`:`Connecting to Isango…`}`)}),_(e,t)};c(fe,e=>{i(W)?e(pe):e(me,-1)}),v(Q),S(()=>{a(O,i(U).before),a(z,i(U).after),a(ue,i(U).code),a(Z,i(U).key),$=p(Q,1,`card wait svelte-1c4a69b`,null,$,{here:i(W)})}),_(e,o)},$$slots:{default:!0}}),o()}export{H as default};