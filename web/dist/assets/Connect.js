import{A as e,B as t,D as n,G as r,H as i,I as a,J as o,K as s,O as c,Q as l,R as u,U as d,V as f,Z as p,et as m,g as h,l as g,s as _,tt as v,u as y,w as b,x,z as S}from"./disclose-version.js";import{N as C,T as w,_ as T,d as E,g as D,q as O,y as k}from"./app.js";import{i as ee,r as te,t as A}from"./CostOf.js";import{t as j}from"./CopyButton.js";import{t as M}from"./Page.js";import{t as N}from"./Status.js";var P=[{id:`curl`,name:`curl`},{id:`python-azure`,name:`Python, AzureOpenAI`},{id:`python`,name:`Python, OpenAI`},{id:`node`,name:`JavaScript, openai`},{id:`anthropic`,name:`Anthropic`},{id:`worker`,name:`Cloudflare Worker`},{id:`vercel`,name:`Vercel AI SDK`},{id:`langchain`,name:`LangChain`}],F=`messages=[{"role": "user", "content": "Hello"}],`,I=`{"tenantId":"acme"}`,L=`2024-10-21`,R=(e,t,n)=>`from openai import ${t}

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
print(model.invoke("Hello").content)`}}}var B=e(`<a class="button svelte-1c4a69b"> </a>`),V=e(`<div class="azure svelte-1c4a69b"><label class="svelte-1c4a69b">Azure resource <input class="field svelte-1c4a69b" spellcheck="false"/></label> <label class="svelte-1c4a69b">Deployment <input class="field svelte-1c4a69b" spellcheck="false"/></label> <p class="dim svelte-1c4a69b">Gateway <strong class="svelte-1c4a69b"> </strong>; another one is chosen above.</p></div>`),ne=e(`<li class="svelte-1c4a69b"><a class="svelte-1c4a69b"> </a> <span class="dim svelte-1c4a69b"> </span></li>`),re=e(`<p class="done svelte-1c4a69b"><!> It works. <a class="svelte-1c4a69b"> </a> </p> <dl class="svelte-1c4a69b"><div class="svelte-1c4a69b"><dt class="svelte-1c4a69b">Status</dt><dd class="svelte-1c4a69b"><!></dd></div> <div class="svelte-1c4a69b"><dt class="svelte-1c4a69b">Total</dt><dd class="svelte-1c4a69b"> </dd></div> <div class="svelte-1c4a69b"><dt class="svelte-1c4a69b">The gateway added</dt><dd class="svelte-1c4a69b"> </dd></div> <div class="svelte-1c4a69b"><dt class="svelte-1c4a69b">Tokens</dt><dd class="svelte-1c4a69b"> </dd></div> <div class="svelte-1c4a69b"><dt class="svelte-1c4a69b">Cost</dt><dd class="svelte-1c4a69b"><!></dd></div></dl> <ol class="svelte-1c4a69b"></ol>`,1),ie=e(`<p class="svelte-1c4a69b"><span aria-hidden="true"></span> </p>`),ae=e(`<p class="lead dim svelte-1c4a69b">Body, query, key and answer stay what they were. From the first request on it is on record, with its tokens, its times and its cost.</p> <div class="clients svelte-1c4a69b" role="group" aria-label="Client"></div> <section class="card swap svelte-1c4a69b" aria-label="The swap"><p class="minus svelte-1c4a69b"><span aria-label="before" class="svelte-1c4a69b">−</span><code class="svelte-1c4a69b"> </code></p> <p class="plus svelte-1c4a69b"><span aria-label="after" class="svelte-1c4a69b">+</span><code class="svelte-1c4a69b"> </code> <!></p></section> <!> <section class="card code svelte-1c4a69b" aria-label="A whole call"><div class="copy svelte-1c4a69b"><!></div> <pre tabindex="0" class="svelte-1c4a69b"> </pre> <p class="dim svelte-1c4a69b"> </p></section> <section aria-live="polite" aria-label="The first request"><!></section>`,1);function H(e,F){l(F,!0);let I=o(()=>P.find(e=>e.id===w.get(`client`))?.id??`curl`),L=o(()=>E.gateway??`default`),R=s(`my-resource`),H=s(`chat`),oe=o(()=>![`python`,`anthropic`].includes(a(I))),U=o(()=>z(a(I),{base:E.session?.data_url??``,account:E.account,gateway:a(L),resource:a(R).trim()||`my-resource`,deployment:a(H).trim()||`chat`})),W=s(null),G=s(!1);S(()=>(r(W,null),O({account:E.account,gateway:a(L),filter:``},{row:e=>r(W,a(W)??e),sampled:()=>{},connected:e=>r(G,e,!0)})));let K=o(()=>[{name:`See this request`,text:`what was said, where the time went, why it cost what it did`,href:w.href(`/requests/${a(W)?.id}`)},{name:`Watch them live`,text:`every request of this gateway as it happens`,href:w.href(`/requests`,{live:`1`})},{name:`See who spends what`,text:`send cf-aig-metadata, and group by any of its keys`,href:w.href(`/costs`)}]);M(e,{question:`Change one URL`,children:(e,o)=>{var s=ae(),l=d(f(s),2);x(l,21,()=>P,e=>e.id,(e,t)=>{var r=B(),o=i(r,!0);u(e=>{y(r,`href`,e),y(r,`aria-current`,a(t).id===a(I)?`true`:void 0),n(o,a(t).name)},[()=>w.with({client:a(t).id})]),c(e,r)}),v(l);var p=d(l,2),S=t(p),E=d(t(S)),O=i(E,!0);v(S);var M=d(S,2),F=d(t(M)),z=i(F,!0),se=d(F,2);j(se,{what:`address`,get text(){return a(U).after}}),v(M),v(p);var q=d(p,2),ce=e=>{var o=V(),s=t(o),l=d(t(s));g(l),v(s);var f=d(s,2),p=d(t(f));g(p),v(f);var h=d(f,2),y=d(t(h)),b=i(y,!0);m(),v(h),v(o),u(()=>n(b,a(L))),_(l,()=>a(R),e=>r(R,e)),_(p,()=>a(H),e=>r(H,e)),c(e,o)};b(q,e=>{a(oe)&&e(ce)});var J=d(q,2),Y=t(J),le=t(Y);j(le,{what:`call`,get text(){return a(U).code}}),v(Y);var X=d(Y,2),ue=i(X,!0),Z=d(X,2),de=i(Z,!0);v(J);var Q=d(J,2);let $;var fe=t(Q),pe=e=>{var r=re(),o=f(r),s=t(o);C(s,{name:`check`});var l=d(s,2),p=i(l,!0),m=d(l);v(o);var h=d(o,2),g=t(h),_=d(t(g)),b=t(_);N(b,{get of(){return a(W)}}),v(_),v(g);var S=d(g,2),E=d(t(S)),O=i(E,!0);v(S);var j=d(S,2),M=d(t(j)),P=i(M,!0);v(j);var F=d(j,2),I=d(t(F)),L=i(I,!0);v(F);var R=d(F,2),z=d(t(R)),B=t(z);A(B,{get cost(){return a(W).cost},get cache(){return a(W).cache}}),v(z),v(R),v(h);var V=d(h,2);x(V,21,()=>a(K),e=>e.name,(e,r)=>{var o=ne(),s=t(o),l=i(s,!0),f=d(s,2),p=i(f,!0);v(o),u(()=>{y(s,`href`,a(r).href),n(l,a(r).name),n(p,a(r).text)}),c(e,o)}),v(V),u((e,t,r,i,o)=>{y(l,`href`,e),n(p,a(W).model_requested??a(W).operation),n(m,` at ${t??``}`),n(O,r),n(P,i),n(L,o)},[()=>w.href(`/requests/${a(W).id}`),()=>D(new Date(a(W).created_at)),()=>k(a(W).timing.total_us),()=>k(a(W).timing.overhead_us),()=>a(W).usage?`${T(te(a(W).usage))} → ${T(ee(a(W).usage))}`:`none told`]),c(e,r)},me=e=>{var r=ie(),i=t(r);let o;var s=d(i);v(r),u(()=>{o=h(i,1,`pulse svelte-1c4a69b`,null,o,{on:a(G)}),n(s,` ${a(G)?`Waiting for the first request through ${a(L)}. It appears here by itself.`:`Connecting to Isango…`}`)}),c(e,r)};b(fe,e=>{a(W)?e(pe):e(me,-1)}),v(Q),u(()=>{n(O,a(U).before),n(z,a(U).after),n(ue,a(U).code),n(de,a(U).key),$=h(Q,1,`card wait svelte-1c4a69b`,null,$,{here:a(W)})}),c(e,s)},$$slots:{default:!0}}),p()}export{H as default};