#!/usr/bin/env python3
"""Writes crates/types/src/prices.json from the open facts of genai-prices (MIT).

    pip install genai-prices
    python3 xtask/prices.py 2026-11-22 > crates/types/src/prices.json

The argument is the day the facts are read; it becomes the version of the list. Only standard
prices are taken (no batch or service tiers), only of providers that Isango knows, and only kinds
of usage that it counts. The form of the result is described in docs/prices.md.
"""

import datetime
import json
import sys
from decimal import Decimal
from importlib.metadata import version

from genai_prices.data import providers
from genai_prices.types import (
    ClauseAnd,
    ClauseContains,
    ClauseEndsWith,
    ClauseEquals,
    ClauseOr,
    ClauseRegex,
    ClauseStartsWith,
    ConditionalPrice,
    StartDateConstraint,
    TieredPrices,
    TimeOfDateConstraint,
)

# Their provider -> our slug.
SLUGS = {
    "openai": "openai",
    "anthropic": "anthropic",
    "azure": "azure-openai",
    "aws": "aws-bedrock",
    "google": "google-ai-studio",
    "cloudflare": "workers-ai",
    "x-ai": "grok",
    "groq": "groq",
    "deepseek": "deepseek",
    "mistral": "mistral",
    "perplexity": "perplexity-ai",
    "cohere": "cohere",
    "cerebras": "cerebras",
    "openrouter": "openrouter",
    "baseten": "baseten",
    "fireworks": "fireworks",
    "elevenlabs": "elevenlabs",
}

# Hosts that sell another provider's models at its list prices.
PRICES_OF = {"azure-openai": "openai", "azure": "anthropic", "google-vertex-ai": "google-ai-studio"}
OTHER_HOSTS = {
    "azure": "https://azure.microsoft.com/en-us/pricing/details/ai-foundry/",
    "google-vertex-ai": "https://cloud.google.com/vertex-ai/generative-ai/pricing",
}

# Their kind of price -> our key, and how many dollars of theirs make one of ours.
KINDS = {
    "input_mtok": ("input", 1),
    "cache_read_mtok": ("cache_read", 1),
    "cache_write_mtok": ("cache_write", 1),
    "cache_write_1h_mtok": ("cache_write_1h", 1),
    "input_audio_mtok": ("audio_input", 1),
    "cache_audio_read_mtok": ("audio_cache_read", 1),
    "input_image_mtok": ("image_input", 1),
    "output_mtok": ("output", 1),
    "output_reasoning_mtok": ("reasoning", 1),
    "output_audio_mtok": ("audio_output", 1),
    "output_image_mtok": ("image_output", 1),
    "web_searches_kcount": ("search", 1000),
    "audio_hours": ("audio_hour", 1),
    "input_mchars": ("character", 1),
    "requests_kcount": ("request", 1000),
}

# Facts the source lacks, with their own source. (provider, model) -> members to add.
ADDED = {
    ("openai", "gpt-4o-audio-preview"): {
        "audio_input": "40",
        "audio_output": "80",
        "source": "https://developers.openai.com/api/docs/models/gpt-4o-audio-preview",
    },
    ("openai", "gpt-4o-mini-audio-preview"): {
        "audio_input": "10",
        "audio_output": "20",
        "source": "https://developers.openai.com/api/docs/models/gpt-4o-mini-audio-preview",
    },
    ("google-ai-studio", "gemini-2.5-pro"): {
        "also": [
            "gemini-2.5-pro-preview",
            "gemini-2.5-pro-preview-03-25",
            "gemini-2.5-pro-preview-05-06",
            "gemini-2.5-pro-preview-06-05",
        ]
    },
    ("google-ai-studio", "gemini-2.5-flash-lite"): {
        "also": ["gemini-2.5-flash-lite-preview-06-17", "gemini-2.5-flash-lite-preview-09-2025"]
    },
    ("google-ai-studio", "gemini-3.8-flash"): {"also": ["gemini-3.8-flash-preview"]},
}


def decimal(value):
    return format(value.normalize(), "f")


def slug_of(provider, model):
    """Claude and `-maas` models of their `google` are sold on Vertex AI only."""
    on_vertex = model.id.startswith("claude-") or model.id.endswith("-maas")
    return "google-vertex-ai" if provider == "google" and on_vertex else SLUGS[provider]


def names(clause, found):
    """Sorts the clauses of a match into exact names and patterns.

    Regular expressions and conjunctions only tell dates and stable versions apart, which
    `price/name.rs` does for every model.
    """
    match clause:
        case ClauseOr():
            for part in clause.or_:
                names(part, found)
        case ClauseEquals():
            found["also"].append(clause.equals)
        case ClauseEndsWith():
            # Their way to see through an ARN, whose path segments we drop.
            found["also"].append(clause.ends_with.lstrip("/"))
        case ClauseStartsWith() | ClauseContains():
            (text,) = vars(clause).values()
            kind = "starts_with" if isinstance(clause, ClauseStartsWith) else "contains"
            if text.endswith(("@", "-2025", "flash-0")):
                return  # dated or numbered versions of a model that its id names
            found[kind].append(text)
        case ClauseRegex() | ClauseAnd():
            pass


def rates(price):
    """The base rates of a price, and its tiers above a number of input tokens."""
    base, tiers = {}, {}
    for kind, value in vars(price).items():
        if value is None or kind not in KINDS:
            continue
        key, per = KINDS[kind]
        if isinstance(value, TieredPrices):
            for tier in value.tiers:
                tiers.setdefault(tier.start, {})[key] = decimal(tier.price / per)
            value = value.base
        base[key] = decimal(Decimal(value) / per)
    return base, tiers


def complete(slug, model, period):
    """Makes explicit what the source leaves to its rules."""
    if not period and slug == "openrouter" and model.id.endswith(":free"):
        period.update(input="0", output="0")
    if "gemini" in model.id and "embedding" not in model.id and "input" in period:
        period.setdefault("audio_input", period["input"])  # one price for every kind of input
    if slug.startswith("google") and model.id.endswith(("-tts", "-tts-preview")):
        period.setdefault("audio_output", period["output"])  # all output is audio
    if slug == "openai" and model.id == "gpt-4o-mini-tts":
        period.setdefault("audio_output", period["output"])
    if slug == "openai" and "image" in model.id and "output" in period:
        period.setdefault("image_output", period["output"])
    return period


def rows_of(slug, model):
    found = {"also": [], "starts_with": [], "contains": []}
    names(model.match, found)
    if slug == "azure-openai":  # `contains o4-mini` would also take o4-mini-deep-research
        found["also"] += found.pop("contains")
        found["contains"] = []
    added = dict(ADDED.get((slug, model.id), {}))
    found["also"] += added.pop("also", [])
    found["also"] = [name for name in found["also"] if name.lower() != model.id.lower()]
    prices = model.prices if isinstance(model.prices, list) else [ConditionalPrice(prices=model.prices)]
    for index, price in enumerate(prices):
        base, tiers = rates(price.prices)
        period = complete(slug, model, base)
        if not period:
            continue
        row = {"provider": slug, "model": model.id}
        if index == 0:
            row |= {key: list(dict.fromkeys(values)) for key, values in found.items() if values}
        match price.constraint:
            case StartDateConstraint(start_date=day):
                row["effective_from"] = day.isoformat()
            case TimeOfDateConstraint(start_time=start, end_time=end):
                earlier = [p.constraint.start_date for p in prices[:index] if isinstance(p.constraint, StartDateConstraint)]
                if earlier:
                    row["effective_from"] = max(earlier).isoformat()
                row["hours"] = f"{start:%H:%M}-{end:%H:%M}"
        row |= period | added
        if tiers:
            row["above"] = [{"tokens": start} | tiers[start] for start in sorted(tiers)]
        yield row


def main():
    read = datetime.date.fromisoformat(sys.argv[1]).isoformat()
    sources = dict(OTHER_HOSTS)
    rows, taken = [], {}
    for provider in providers:
        if provider.id not in SLUGS:
            continue
        sources[SLUGS[provider.id]] = provider.pricing_urls[0] if provider.pricing_urls else provider.name
        for model in provider.models:
            slug = slug_of(provider.id, model)
            if slug == "openrouter" and "/" not in model.id:
                continue  # its answers always name the vendor
            for row in rows_of(slug, model):
                # The first model that claims a name has it, as in the source.
                for name in [row["model"], *row.get("also", [])]:
                    taken.setdefault((slug, name.lower()), model.id)
                if "also" in row:
                    row["also"] = [n for n in row["also"] if taken[slug, n.lower()] == model.id]
                    if not row["also"]:
                        del row["also"]
                rows.append(row)
    head = {
        "version": read,
        "source": f"genai-prices {version('genai-prices')} (MIT), read {read}",
        "effective_from": "1970-01-01",
    }
    hosts = {
        slug: {"source": source} | ({"prices_of": PRICES_OF[slug]} if slug in PRICES_OF else {})
        for slug, source in sorted(sources.items())
    }
    line = lambda value: json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    print("{" + ",\n".join(f"{line(key)}:{line(value)}" for key, value in head.items()) + ",")
    print('"providers":{\n' + ",\n".join(f"{line(k)}:{line(v)}" for k, v in hosts.items()) + "\n},")
    print('"rows":[\n' + ",\n".join(map(line, rows)) + "\n]}")


main()
