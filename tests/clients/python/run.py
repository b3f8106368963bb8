"""The official Python clients through a running gateway; only their base URL is changed.

Reads ISANGO_GATEWAY, the address up to and with the gateway's id, and writes to ISANGO_REPORT a
JSON line for each request that must be on record. Prints one line for each failure, and in the
end 'N passed, N failed'.
"""

import asyncio
import json
import os
import sys
import traceback
import uuid

import anthropic
import openai

GATEWAY = os.environ["ISANGO_GATEWAY"]
AZURE = f"{GATEWAY}/azure-openai/aoai-test"
VERSION = "2024-10-21"
KEY = "planted-key-python"
PROMPT = [{"role": "user", "content": "Which way does the gate open?"}]

reported = []


def metadata(case):
    """The header by which the record of a request is found again."""
    return {"cf-aig-metadata": json.dumps({"case": case, "client": "python"})}


def on_record(case, headers, provider, stream=False, deployment=None, usage=True):
    """Checks the gateway's answer headers and notes what must be on record."""
    for name in ("cf-aig-request-id", "cf-aig-log-id", "cf-aig-event-id"):
        uuid.UUID(headers[name])
    reported.append(
        {
            "id": headers["cf-aig-log-id"],
            "case": case,
            "provider": provider,
            "stream": stream,
            "deployment": deployment,
            "usage": usage,
        }
    )


def chat(case, client, provider, model, deployment=None):
    raw = client.chat.completions.with_raw_response.create(
        model=model, messages=PROMPT, extra_headers=metadata(case)
    )
    on_record(case, raw.headers, provider, deployment=deployment)
    answer = raw.parse()
    assert answer.object == "chat.completion", answer
    assert answer.choices[0].message.content, answer
    assert answer.choices[0].finish_reason == "stop", answer
    usage = answer.usage
    assert usage.prompt_tokens + usage.completion_tokens == usage.total_tokens > 0, usage


def chat_stream(case, client, provider, model, deployment=None, ask_usage=False):
    options = {"stream_options": {"include_usage": True}} if ask_usage else {}
    raw = client.chat.completions.with_raw_response.create(
        model=model, messages=PROMPT, stream=True, extra_headers=metadata(case), **options
    )
    assert raw.headers["content-type"].startswith("text/event-stream"), raw.headers
    on_record(case, raw.headers, provider, stream=True, deployment=deployment)
    chunks = list(raw.parse())
    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert "".join(choice.delta.content or "" for choice in choices), chunks
    assert choices[-1].finish_reason == "stop", choices[-1]
    usages = [chunk.usage for chunk in chunks if chunk.usage]
    # The gateway asks for usage where the client did not, and keeps the extra chunk to itself.
    assert len(usages) == (1 if ask_usage else 0), usages


def embeddings(case, client, provider, model, deployment=None):
    raw = client.embeddings.with_raw_response.create(
        model=model, input=["one", "two"], extra_headers=metadata(case)
    )
    on_record(case, raw.headers, provider, deployment=deployment)
    answer = raw.parse()
    assert [item.index for item in answer.data] == [0, 1], answer
    assert len(answer.data[0].embedding) > 8, answer
    assert answer.usage.total_tokens > 0, answer


def models(case, client, provider):
    raw = client.models.with_raw_response.list(extra_headers=metadata(case))
    on_record(case, raw.headers, provider, usage=False)
    assert len(list(raw.parse())) > 0


def responses(case, client, provider, model):
    raw = client.responses.with_raw_response.create(
        model=model, input="Which way does the gate open?", extra_headers=metadata(case)
    )
    on_record(case, raw.headers, provider)
    answer = raw.parse()
    assert answer.status == "completed" and answer.output_text, answer
    assert answer.usage.total_tokens > 0, answer


def responses_stream(case, client, provider, model):
    raw = client.responses.with_raw_response.create(
        model=model,
        input="Which way does the gate open?",
        stream=True,
        extra_headers=metadata(case),
    )
    on_record(case, raw.headers, provider, stream=True)
    events = list(raw.parse())
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert events[-1].type == "response.completed", events[-1]
    assert text and text == events[-1].response.output_text, text


def messages(case, client, provider):
    raw = client.messages.with_raw_response.create(
        model="claude-sonnet-4-6",
        max_tokens=256,
        messages=PROMPT,
        extra_headers=metadata(case),
    )
    on_record(case, raw.headers, provider)
    answer = raw.parse()
    assert answer.content[0].text and answer.stop_reason == "end_turn", answer
    assert answer.usage.input_tokens > 0 and answer.usage.output_tokens > 0, answer


def messages_stream(case, client, provider):
    with client.messages.stream(
        model="claude-sonnet-4-6",
        max_tokens=256,
        messages=PROMPT,
        extra_headers=metadata(case),
    ) as stream:
        headers = stream.response.headers
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    on_record(case, headers, provider, stream=True)
    assert text and text == final.content[0].text, final
    assert final.usage.input_tokens > 0 and final.usage.output_tokens > 0, final


def claude_models(case, client, provider):
    raw = client.models.with_raw_response.list(extra_headers=metadata(case))
    on_record(case, raw.headers, provider, usage=False)
    assert len(list(raw.parse())) > 0


def async_chat(case, base_url, provider, model):
    async def both():
        async with openai.AsyncOpenAI(base_url=base_url, api_key=KEY, max_retries=0) as client:
            raw = await client.chat.completions.with_raw_response.create(
                model=model, messages=PROMPT, stream=True, extra_headers=metadata(case)
            )
            on_record(case, raw.headers, provider, stream=True)
            return [chunk async for chunk in raw.parse()]

    assert asyncio.run(both())[-1].choices[0].finish_reason == "stop"


def azure_openai_cases():
    """Every base-URL spelling in which the clients of OpenAI are pointed at Azure."""

    def azure(**settings):
        given = {"api_version": VERSION, "max_retries": 0, **settings}
        if "azure_ad_token" not in given:
            given["api_key"] = KEY
        return openai.AzureOpenAI(**given)

    def plain(deployment):
        return openai.OpenAI(
            base_url=f"{AZURE}/{deployment}",
            api_key=KEY,
            default_query={"api-version": VERSION},
            default_headers={"api-key": KEY},
            max_retries=0,
        )

    # name; client for chat; client for embeddings; whether it also reaches what is not per
    # deployment.
    spellings = [
        ("OpenAI base_url=res/dep", plain("chat"), plain("embed"), False),
        ("AzureOpenAI base_url=res/", azure(base_url=f"{AZURE}/"), None, True),
        ("AzureOpenAI base_url=res/dep", azure(base_url=f"{AZURE}/chat"), None, False),
        ("AzureOpenAI azure_endpoint", azure(azure_endpoint=AZURE), None, True),
        ("AzureOpenAI azure_endpoint/", azure(azure_endpoint=f"{AZURE}/"), None, True),
        (
            "AzureOpenAI azure_deployment",
            azure(azure_endpoint=AZURE, azure_deployment="chat"),
            azure(azure_endpoint=AZURE, azure_deployment="embed"),
            True,
        ),
        (
            "AzureOpenAI azure_ad_token",
            azure(azure_endpoint=AZURE, azure_ad_token="planted-entra-token"),
            None,
            True,
        ),
    ]
    for name, client, embedder, whole in spellings:
        args = (client, "azure-openai", "chat", "chat")
        yield f"{name}: chat", chat, args
        yield f"{name}: chat stream", chat_stream, args
        yield f"{name}: chat stream with usage", chat_stream, (*args, True)
        yield f"{name}: embeddings", embeddings, (
            embedder or client,
            "azure-openai",
            "embed",
            "embed",
        )
        if whole:
            yield f"{name}: responses", responses, (client, "azure-openai", "chat")
            yield f"{name}: responses stream", responses_stream, (client, "azure-openai", "chat")
            yield f"{name}: models", models, (client, "azure-openai")

    # The surface without api-version, which any client of OpenAI can use.
    for base_url in (f"{AZURE}/openai/v1", f"{AZURE}/openai/v1/"):
        name = "OpenAI base_url=res/openai/v1" + ("/" if base_url.endswith("/") else "")
        client = openai.OpenAI(base_url=base_url, api_key=KEY, max_retries=0)
        yield f"{name}: chat", chat, (client, "azure-openai", "gpt-4o")
        yield f"{name}: chat stream", chat_stream, (client, "azure-openai", "gpt-4o")
        yield f"{name}: responses", responses, (client, "azure-openai", "gpt-4o")
        yield f"{name}: models", models, (client, "azure-openai")


def survives(case, check, client, provider, model, deployment, headers):
    """A call that must succeed although the provider fails; the answer tells how."""
    trouble, told = headers
    # Short, so that it is not taken for a credential.
    key = {"x-sim-key": f"r{len(reported)}", "x-sim-fail-first": "1"}
    key = {} if "x-sim-only" in trouble else key
    seen = {}

    def note(response):
        seen.update(response.headers)

    client = client.with_options(default_headers={**trouble, **key})
    client._client.event_hooks["response"] = [note]
    check(case, client, provider, model, deployment)
    assert {name: seen.get(name) for name in told} == told, seen


def resilience_cases():
    """The gateway asks again, or elsewhere; the clients themselves never do."""
    again = (
        {
            "x-sim-status": "429",
            "x-sim-retry-after-ms": "20",
            "cf-aig-max-attempts": "2",
            "cf-aig-retry-delay": "1",
        },
        {"cf-aig-attempts": "2", "cf-aig-step": "0", "cf-aig-provider": "openai"},
    )
    elsewhere = (
        {"x-sim-status": "503", "x-sim-only": "aoai-first"},
        {"cf-aig-attempts": "2", "cf-aig-step": "1", "cf-aig-provider": "second"},
    )
    for check in (chat, chat_stream):
        name = check.__name__
        client = openai.OpenAI(base_url=f"{GATEWAY}/openai", api_key=KEY, max_retries=0)
        args = (check, client, "openai", "gpt-4o", None, again)
        yield f"retry: {name}", survives, args
        client = openai.AzureOpenAI(
            azure_endpoint=f"{GATEWAY}/azure-openai/aoai-first",
            api_key=KEY,
            api_version=VERSION,
            max_retries=0,
        )
        args = (check, client, "azure-openai", "chat", "chat-second", elsewhere)
        yield f"fallback: {name}", survives, args


def openai_cases():
    for end in ("openai", "openai/", "openai/v1", "openai/v1/"):
        client = openai.OpenAI(base_url=f"{GATEWAY}/{end}", api_key=KEY, max_retries=0)
        name = f"OpenAI base_url={end}"
        yield f"{name}: chat", chat, (client, "openai", "gpt-4o")
        yield f"{name}: chat stream", chat_stream, (client, "openai", "gpt-4o")
        yield f"{name}: chat stream with usage", chat_stream, (client, "openai", "gpt-4o", None, True)
        yield f"{name}: embeddings", embeddings, (client, "openai", "text-embedding-3-small")
        yield f"{name}: responses", responses, (client, "openai", "gpt-4o")
        yield f"{name}: responses stream", responses_stream, (client, "openai", "gpt-4o")
        yield f"{name}: models", models, (client, "openai")
    yield "AsyncOpenAI: chat stream", async_chat, (f"{GATEWAY}/openai", "openai", "gpt-4o")


def anthropic_cases():
    places = [("anthropic", f"{GATEWAY}/anthropic"), ("azure", f"{GATEWAY}/azure/aoai-test/anthropic")]
    for provider, base_url in places:
        for auth in ("api_key", "auth_token"):
            client = anthropic.Anthropic(base_url=base_url, max_retries=0, **{auth: KEY})
            name = f"Anthropic {provider} {auth}"
            yield f"{name}: messages", messages, (client, provider)
            yield f"{name}: messages stream", messages_stream, (client, provider)
            if provider == "anthropic":
                yield f"{name}: models", claude_models, (client, provider)


def main():
    passed = failed = 0
    for cases in (azure_openai_cases(), openai_cases(), anthropic_cases(), resilience_cases()):
        for case, check, arguments in cases:
            try:
                check(case, *arguments)
                passed += 1
            except Exception:  # Every failure of a client counts, whatever it raises.
                failed += 1
                print(f"FAILED {case}\n{traceback.format_exc(limit=-3)}")
    with open(os.environ["ISANGO_REPORT"], "w", encoding="utf-8") as report:
        report.writelines(json.dumps(line) + "\n" for line in reported)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
