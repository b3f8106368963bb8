"""Cloudflare's official Python SDK against the management API; only its base URL is changed.

Reads ISANGO_API, the address up to and with `/client/v4`, ISANGO_TOKEN, a token that may change the
account `local`, and ISANGO_GATEWAY, the address of the gateway `default`. Every method of the SDK's
`ai_gateway` is called: those of capabilities that this version does not have must be refused with
code 7013. Prints one line for each failure, and in the end 'N passed, N failed'.
"""

import inspect
import json
import os
import sys
import traceback
import urllib.request

import cloudflare

ACCOUNT = "local"
PLAIN = {
    "cache_invalidate_on_update": True,
    "cache_ttl": 0,
    "collect_logs": True,
    "rate_limiting_interval": 0,
    "rate_limiting_limit": 0,
}
CLIENT = cloudflare.Cloudflare(
    base_url=os.environ["ISANGO_API"], api_token=os.environ["ISANGO_TOKEN"], max_retries=0
)
API = CLIENT.ai_gateway
OF = {"account_id": ACCOUNT}

called = set()


def call(resource, method, *arguments, **named):
    """Calls a method and notes that it was."""
    called.add((type(resource).__name__, method))
    return getattr(resource, method)(*arguments, **named)


def refused(status, code, resource, method, *arguments, **named):
    try:
        call(resource, method, *arguments, **named)
    except cloudflare.APIStatusError as error:
        told = error.response.json()
        assert (error.status_code, told["errors"][0].get("code")) == (status, code), told
        assert told["success"] is False, told
    else:
        raise AssertionError(f"{method} was not refused")


def gateways():
    made = call(API, "create", **OF, id="py-one", **PLAIN)
    assert (made.id, made.cache_ttl, made.is_default) == ("py-one", 0, False), made
    for n in range(3):
        call(API, "create", **OF, id=f"py-page-{n}", **PLAIN)
    listed = [one.id for one in call(API, "list", **OF, search="py-page", per_page=1)]
    assert listed == ["py-page-0", "py-page-1", "py-page-2"], listed
    changed = call(
        API,
        "update",
        "py-one",
        **OF,
        **{**PLAIN, "cache_ttl": 60},
        retry_max_attempts=2,
        spend_limits={"enabled": True, "rules": [{"limitType": "cost", "limit": 25, "window": 60}]},
    )
    assert (changed.cache_ttl, changed.retry_max_attempts) == (60, 2), changed
    assert call(API, "get", "py-one", **OF).cache_ttl == 60
    refused(404, 7002, API, "get", "py-none", **OF)
    refused(409, 7011, API, "create", **OF, id="py-one", **PLAIN)
    refused(400, 7001, API, "update", "py-one", **OF, **{**PLAIN, "cache_ttl": -1})
    refused(404, 7002, API, "get", "py-one", account_id="another")
    assert call(API, "delete", "py-one", **OF).id == "py-one"
    refused(404, 7002, API, "delete", "py-one", **OF)
    for n in range(3):
        call(API, "delete", f"py-page-{n}", **OF)


def urls():
    url = call(API.urls, "get", "openai", **OF, gateway_id="default")
    assert url == os.environ["ISANGO_GATEWAY"] + "/openai", url


def provider_configs():
    made = call(
        API.provider_configs,
        "create",
        "default",
        **OF,
        provider_slug="openai",
        alias="py",
        default_config=False,
        secret="planted-key-managed",
        secret_id=cloudflare.omit if hasattr(cloudflare, "omit") else cloudflare.NOT_GIVEN,
    )
    assert (made.alias, made.provider_slug) == ("py", "openai"), made
    assert "planted" not in made.to_json(), made
    listed = [one.alias for one in call(API.provider_configs, "list", "default", **OF)]
    assert "py" in listed, listed


def chat(tenant):
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": f"I am {tenant}"}]}
    request = urllib.request.Request(
        os.environ["ISANGO_GATEWAY"] + "/openai/chat/completions",
        json.dumps(body).encode(),
        {
            "authorization": "Bearer planted-key-manage",
            "content-type": "application/json",
            "user-agent": "manage.py",
            "cf-aig-metadata": json.dumps({"tenantId": tenant}),
        },
    )
    with urllib.request.urlopen(request) as answer:
        return answer.headers["cf-aig-log-id"]


def found(count, **query):
    """Asks until so many records are there: they are written behind the answers."""
    for _ in range(100):
        page = call(API.logs, "list", "default", **OF, **query)
        ids = [one.id for one in page]
        if len(ids) == count:
            return ids
    raise AssertionError(f"{query}: {len(ids)} instead of {count}")


def logs():
    of_py = {"key": "user_agent", "operator": "eq", "value": ["manage.py"]}
    ids = [chat(tenant) for tenant in ("acme", "acme", "globex")]
    assert found(3, filters=[of_py], per_page=1) == ids[::-1]
    assert found(3, filters=[of_py], order_by_direction="asc", per_page=2) == ids
    for key, operator, value, count in [
        ("id", "eq", [ids[0]], 1),
        ("created_at", "gt", ["2020-01-01T00:00:00Z"], 3),
        ("success", "eq", [True], 3),
        ("cached", "eq", [True], 0),
        ("provider", "neq", ["openai"], 0),
        ("model", "contains", ["gpt"], 3),
        ("model_type", "eq", ["chat"], 3),
        ("cost", "lt", [100], 3),
        ("tokens", "gt", [0], 3),
        ("tokens_in", "gt", [0], 3),
        ("tokens_out", "gt", [0], 3),
        ("duration", "lt", [60000], 3),
        ("feedback", "eq", [1], 0),
        ("event_id", "eq", [ids[1]], 1),
        ("metadata.key", "eq", ["tenantId"], 3),
        ("metadata.value", "eq", ["acme"], 2),
        ("request_content_type", "contains", ["json"], 3),
        ("response_content_type", "contains", ["json"], 3),
        ("authentication", "eq", [False], 3),
    ]:
        found(count, filters=[of_py, {"key": key, "operator": operator, "value": value}])
    both = {"key": "metadata.value", "operator": "eq", "value": ["acme", "globex"]}
    found(3, filters=[of_py, both])
    found(1, filters=[of_py], search="globex")
    info = call(API.logs, "list", "default", **OF, filters=[of_py], meta_info=True).result_info
    assert info.total_count == 3, info
    one = call(API.logs, "get", ids[0], **OF, gateway_id="default")
    assert (one.id, one.model, one.success, one.cached) == (ids[0], one.model, True, False), one
    assert json.loads(one.metadata) == {"tenantId": "acme"}, one
    sent = call(API.logs, "request", ids[0], **OF, gateway_id="default")
    assert sent["messages"][0]["content"] == "I am acme", sent
    answered = call(API.logs, "response", ids[0], **OF, gateway_id="default")
    assert answered["object"] == "chat.completion", answered
    patch = {"feedback": 1, "score": 90, "metadata": {"reviewed": True}}
    call(API.logs, "edit", ids[0], **OF, gateway_id="default", **patch)
    found(1, filters=[of_py, {"key": "feedback", "operator": "eq", "value": [1]}])
    call(API.logs, "delete", "default", **OF, filters=[of_py], limit=1)
    found(2, filters=[of_py])
    refused(404, 7002, API.logs, "get", ids[0], **OF, gateway_id="default")


def whatever(name):
    """A value for a parameter of a method that this version does not have."""
    known = {
        "account_id": ACCOUNT,
        "elements": [],
        "filters": [],
        "enable": True,
        "dataset_ids": ["x"],
        "evaluation_type_ids": ["x"],
        "amount": 1000,
        "value_grouping_window": "day",
        "base_url": "https://example.com",
    }
    return known.get(name, "x")


def custom_providers():
    of = API.custom_providers
    made = call(of, "create", **OF, name="Ours", slug="py-ours", base_url="https://llm.example.com")
    assert (made.slug, made.name) == ("py-ours", "Ours"), made
    assert made.id in [one.id for one in call(of, "list", **OF, search="py-ours")]
    assert call(of, "get", made.id, **OF).base_url == "https://llm.example.com"
    again = {"name": "Ours", "slug": "py-ours", "base_url": "https://llm.example.com"}
    refused(409, 1003, of, "create", **OF, **again)
    assert call(of, "delete", made.id, **OF) is not None
    assert "py-ours" not in [one.slug for one in call(of, "list", **OF)]


def later():
    """Calls every method of every resource that was not called yet."""
    billing = API.billing
    resources = [
        API.datasets,
        API.dynamic_routing,
        API.evaluation_types,
        API.evaluations,
        billing,
        billing.spending_limit,
        billing.topup,
        billing.topup.config,
    ]
    count = 0
    for resource in resources:
        for method, bound in inspect.getmembers(resource, inspect.ismethod):
            if method.startswith("_"):
                continue
            needed = [
                name
                for name, parameter in inspect.signature(bound).parameters.items()
                if parameter.default is parameter.empty or name == "account_id"
            ]
            arguments = {name: whatever(name) for name in needed}
            refused(404, 7013, resource, method, **arguments)
            count += 1
    assert count >= 31, count


def uncalled():
    for resource in (API, API.custom_providers, API.logs, API.urls, API.provider_configs):
        for method, _ in inspect.getmembers(resource, inspect.ismethod):
            if not method.startswith("_"):
                assert (type(resource).__name__, method) in called, f"{resource}.{method}"


def main():
    passed = failed = 0
    for check in (gateways, urls, provider_configs, logs, custom_providers, later, uncalled):
        try:
            check()
            passed += 1
        except Exception:  # Every failure of a client counts, whatever it raises.
            failed += 1
            print(f"FAILED {check.__name__}\n{traceback.format_exc(limit=-3)}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
