"""Tokens and stored credentials as docs/tokens.md and docs/credentials.md tell a new user: the command
line makes them, the running gateway takes them up, and OpenAI's client shows them.

Reads ISANGO_GATEWAY, the address of a gateway that asks for tokens, ISANGO_BINARY and ISANGO_CONFIG,
the executable and the configuration that it runs with, and writes to ISANGO_REPORT a JSON line for
each request that must be on record. Prints one line for each failure, and in the end 'N passed, N
failed'.
"""

import json
import os
import subprocess
import sys
import time
import traceback

import anthropic
import openai

GATEWAY = os.environ["ISANGO_GATEWAY"]
NAME = GATEWAY.rsplit("/", 1)[1]
PROMPT = [{"role": "user", "content": "Who may come in?"}]
# A running gateway takes up what the command line did within a second.
PATIENCE_S = 5

reported = []


def isango(*words, **environment):
    """Runs the command line, and returns what it says."""
    command, *rest = words
    line = [os.environ["ISANGO_BINARY"], command, "--config", os.environ["ISANGO_CONFIG"], *rest]
    # What begins so would be taken for settings.
    own = {name: value for name, value in os.environ.items() if not name.startswith("ISANGO_")}
    ran = subprocess.run(line, capture_output=True, text=True, env={**own, **environment})
    assert ran.returncode == 0, f"{words}: {ran.stdout}{ran.stderr}"
    return ran.stdout


def token(name, *words):
    made = isango("token", "create", name, "--gateway", NAME, "--json", *words)
    return json.loads(made)["token"]


def store_key(*words):
    isango("key", "set", "openai", "--gateway", NAME, "--from", "env:KEY", *words, KEY="planted-key")


def chat(key, headers={}, tenant=None, model="gpt-4o"):
    """Asks with `key` in the place of the provider's; what answers is on record."""
    client = openai.OpenAI(base_url=f"{GATEWAY}/openai", api_key=key, max_retries=0)
    case = f"tokens {len(reported)}"
    # What a token is bound to wins over what the client claims.
    claims = {"case": case, "tenantId": "somebody else's"} if tenant else {"case": case}
    raw = client.chat.completions.with_raw_response.create(
        model=model,
        messages=PROMPT,
        extra_headers={"cf-aig-metadata": json.dumps(claims), **headers},
    )
    assert raw.parse().choices[0].message.content
    line = {"id": raw.headers["cf-aig-log-id"], "case": case, "provider": "openai"}
    line = {**line, "stream": False, "usage": True, **({"tenant": tenant} if tenant else {})}
    reported.append(line)


def refused(status, code, ask, *arguments, **named):
    try:
        ask(*arguments, **named)
    except openai.APIStatusError as error:
        told = (error.status_code, error.response.json()["internalCode"])
        assert told == (status, code), (told, error.response.text)
        return error.response
    raise AssertionError(f"it was not refused with {status}, {code}")


def soon(check, *arguments, **named):
    """Waits until the gateway has taken up what was just done."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return check(*arguments, **named)
        except (openai.APIStatusError, AssertionError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def is_shut():
    refused(401, 2009, chat, "planted-key-of-mine")
    refused(401, 2009, chat, "isg_nobody-made-this-one-0123456789")
    headers = {"cf-aig-authorization": "Bearer isg_nobody-made-this-one-0123456789"}
    refused(401, 2009, chat, "planted-key-of-mine", headers)


def opens_wherever_it_stands():
    opener = token("app", "--metadata", "tenantId=acme", "--expires", "90d")
    own = "planted-key-of-mine"
    for written in (f"Bearer {opener}", opener):
        soon(chat, own, {"cf-aig-authorization": written}, tenant="acme")
    # In the provider's slot it is no credential of a provider.
    refused(400, 3002, chat, opener)
    store_key()
    soon(chat, opener, tenant="acme")
    claude = anthropic.Anthropic(base_url=f"{GATEWAY}/anthropic", api_key=own, max_retries=0)
    headers = {"cf-aig-authorization": opener}
    said = claude.messages.create(
        model="claude-sonnet-4-6", max_tokens=64, messages=PROMPT, extra_headers=headers
    )
    assert said.content[0].text


def rotates_and_ends():
    first = token("worker")
    soon(chat, first)
    rotate = ("token", "rotate", "worker", "--json", "--grace")
    second = json.loads(isango(*rotate, "1h"))["token"]
    soon(chat, second)
    chat(first)
    third = json.loads(isango(*rotate, "0s"))["token"]
    soon(chat, third)
    refused(401, 2009, chat, second)
    assert "worker" in isango("token", "list")
    isango("token", "revoke", "worker")
    soon(refused, 401, 2009, chat, third)
    brief = token("brief", "--expires", "2s")
    soon(refused, 401, 2009, chat, brief)


def is_for_what_it_says():
    reader = token("reader", "--scope", "read")
    claude = token("claude", "--provider", "anthropic")
    mini = token("mini", "--model", "gpt-4o-mini*")
    soon(chat, mini, model="gpt-4o-mini")
    refused(403, 3030, chat, mini)
    soon(refused, 403, 3030, chat, claude)
    refused(401, 2009, chat, reader)
    capped = token("capped", "--spend", "0.0001/month")
    soon(chat, capped)
    soon(refused, 429, 2041, chat, capped)


def keys_have_names_and_rates():
    opener = token("keys")
    of = {"cf-aig-authorization": opener}
    team = {**of, "cf-aig-byok-alias": "team-b"}
    # Without a key of its own, for the client must have one: the token stands there.
    soon(refused, 400, 2040, chat, opener, team)
    store_key("--alias", "team-b", "--rate-limit", "2")
    for _ in range(2):
        soon(chat, opener, team)
    spent = refused(429, 2003, chat, opener, team)
    assert 0 < int(spent.headers["retry-after"]) <= 60, spent.headers
    chat(opener, of)
    assert "team-b" in isango("key", "list")
    isango("key", "remove", "openai", "--gateway", NAME, "--alias", "team-b")
    soon(refused, 400, 2040, chat, opener, team)


def main():
    passed = failed = 0
    for check in (
        is_shut,
        opens_wherever_it_stands,
        rotates_and_ends,
        is_for_what_it_says,
        keys_have_names_and_rates,
    ):
        try:
            check()
            passed += 1
        except Exception:  # Every failure of a client counts, whatever it raises.
            failed += 1
            print(f"FAILED {check.__name__}\n{traceback.format_exc(limit=-3)}")
    with open(os.environ["ISANGO_REPORT"], "w", encoding="utf-8") as report:
        report.writelines(json.dumps(line) + "\n" for line in reported)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
