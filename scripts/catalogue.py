"""Writes domain/model/catalogue.json, the models that ship with Regatta, from the price map of the installed LiteLLM.

The map is read as the file that it is: nothing is downloaded, and LiteLLM is not imported. The one argument is the
date of the catalogue, so that the same date and the same LiteLLM give the same file; without it, today.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import re
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from domain.model.availability import LOCAL_PROVIDERS
from domain.model.model import Tier
from domain.model.model_names import PROVIDERS, SIMULATED, prefix_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Entry = Mapping[str, Any]

TARGET: Final = Path(__file__).resolve().parent.parent / "domain" / "model" / "catalogue.json"
MAP: Final = "model_prices_and_context_window_backup.json"

PREMIUM_FROM: Final = Decimal(8)
"""Dollars per million written tokens from which a model is PREMIUM: providers' best models lie above, their workhorses
below. What runs on a machine of one's own is LOCAL whatever it costs; everything else is STANDARD."""

OTHER_KINDS: Final = re.compile(
    r"^ft:"  # somebody's own
    r"|audio|tts|voxtral|lyria|realtime|streaming"  # sound
    r"|image|flux-|omni|ocr"  # pictures
    r"|robotics|computer-use|search|research|rosalind|sonar|-online|cyber|daybreak"  # tools of their own, own fees
    r"|guard|together-ai-"  # classifiers; Together's size classes, which are no models
)
"""What is listed as chat but is another kind of model, or is not paid by tokens alone."""

FURTHER: Final = {
    "cache_creation_input_token_cost": "written",
    "output_cost_per_reasoning_token": "reasoning",
}
ABOVE: Final = {
    "input_cost_per_token": "prompt",
    "output_cost_per_token": "completion",
    "cache_read_input_token_cost": "cached",
    **FURTHER,
}
"""The map's words for prices, and ours."""

ROUTED: Final = {
    # STANDARD: cheap and quick first, one of each provider before the second of any.
    "openai/gpt-6-luna": 10,
    "anthropic/claude-haiku-5-5": 11,
    "gemini/gemini-3.8-flash": 12,
    "mistral/mistral-large-4": 13,
    "deepseek/deepseek-v4-flash": 14,
    "groq/openai/gpt-oss-120b": 15,
    "openai/gpt-5.4-mini": 20,
    "anthropic/claude-haiku-4-5": 21,
    "gemini/gemini-2.5-flash": 22,
    "mistral/mistral-small-latest": 23,
    "deepseek/deepseek-v4-pro": 24,
    "groq/qwen/qwen3.8-27b": 25,
    "openai/gpt-4o-mini": 30,
    # PREMIUM: the newest general ones first. Mistral, DeepSeek and Groq have none above the threshold.
    "openai/gpt-6.1-sol": 10,
    "anthropic/claude-sonnet-5-5": 11,
    "gemini/gemini-4-argon": 12,
    "openai/gpt-5.6": 20,
    "anthropic/claude-opus-5-5": 21,
    "gemini/gemini-2.5-pro": 22,
    "openai/gpt-4o": 30,
    # LOCAL: what was pulled decides; where there is a choice, the stronger one at agents' work.
    "ollama_chat/llama3.3": 10,
    "ollama_chat/gpt-oss": 11,
    "ollama_chat/qwen3": 12,
    "ollama_chat/mistral-small3.2": 13,
    "ollama_chat/llama3.1": 14,
    "ollama_chat/mistral-nemo": 15,
    "ollama_chat/llama3.2": 16,
    "ollama_chat/mistral": 17,
    "ollama_chat/phi4": 18,
    "ollama_chat/gemma3": 19,
}
"""The general-purpose models that work is routed to, and which goes first within a tier; all others only where
somebody names them. Chosen by hand: the map does not say what a model is good at."""

OLLAMA: Final = {
    # name: context window, takes tools, sees pictures — of the model that the plain name pulls
    "deepseek-r1": (131_072, False, False),
    "gemma3": (131_072, False, True),
    "gpt-oss": (131_072, True, False),
    "llama3.1": (131_072, True, False),
    "llama3.2": (131_072, True, False),
    "llama3.3": (131_072, True, False),
    "mistral": (32_768, True, False),
    "mistral-nemo": (131_072, True, False),
    "mistral-small3.2": (131_072, True, True),
    "phi4": (16_384, False, False),
    "qwen2.5": (32_768, True, False),
    "qwen2.5-coder": (32_768, True, False),
    "qwen3": (40_960, True, False),
}
"""Models that people run and the map lacks, or knows only by their old weights. `ollama_chat/` is LiteLLM's way to
Ollama's chat, with tools; `ollama/` its older way, a prompt without them."""

SIMULATED_MODELS: Final = {"regatta": Tier.LOCAL, "standard": Tier.STANDARD, "premium": Tier.PREMIUM}
SIMULATED_WINDOW: Final = 128_000
SIMULATED_ORDER: Final = 1000


def main() -> int:
    """Write the catalogue of the date that is given, or of today; return the exit status."""
    day = date.fromisoformat(sys.argv[1]) if sys.argv[1:] else datetime.now(UTC).date()
    TARGET.write_text(catalogue(day), "utf-8")
    print(f"{TARGET.name}: {len(models(price_map(), day))} models as of {day}")
    return 0


def catalogue(day: date) -> str:
    """The file as text: one line per model, so that a difference can be read."""
    lines = ",\n".join(json.dumps(model, separators=(",", ":")) for model in models(price_map(), day))
    source = f"litellm {importlib.metadata.version('litellm')}"
    return f'{{"date":"{day}","source":"{source}","models":[\n{lines}\n]}}\n'


def price_map() -> dict[str, Entry]:
    """LiteLLM's map, prices exactly as they are written there."""
    found = importlib.util.find_spec("litellm")  # finds, does not import: that would take seconds
    if found is None or found.origin is None:
        raise SystemExit("LiteLLM is not installed: run `make setup`.")
    text = (Path(found.origin).parent / MAP).read_text("utf-8")
    known: dict[str, Entry] = json.loads(text, parse_float=Decimal, parse_int=Decimal)
    return known


def models(known: Mapping[str, Entry], day: date) -> list[dict[str, Any]]:
    """The entries of the catalogue by name; raises SystemExit when a curated name is not among them."""
    found = {name: _model(name, entry) for name, entry in _listed(known) if _is_offered(name, entry, day)}
    found |= {model["name"]: model for model in (*_ollama(), *_simulated())}
    missing = sorted(ROUTED.keys() - found.keys())
    if missing:
        raise SystemExit(f"ROUTED names what the map does not offer (any more): {', '.join(missing)}")
    for name, order in ROUTED.items():
        found[name]["routing_order"] = order
    return [found[name] for name in sorted(found)]


def _listed(known: Mapping[str, Entry]) -> Iterator[tuple[str, Entry]]:
    """Every entry of an allowed provider under its full name; one that is written out comes before a bare one."""
    for name, entry in known.items():
        provider = entry.get("litellm_provider")
        if provider not in PROVIDERS or provider == SIMULATED:
            continue
        full = name if prefix_of(name) == provider else f"{provider}/{name}"
        if full == name or full not in known:
            yield full, entry


def _is_offered(name: str, entry: Entry, day: date) -> bool:
    """Whether it is a model to chat with, in use on that day, whose price is known.

    A zero is only taken from a machine of one's own: elsewhere it stands for a free quota, or for not knowing.
    """
    if entry.get("mode") != "chat" or OTHER_KINDS.search(name.partition("/")[2].lower()):
        return False
    ends = entry.get("deprecation_date")
    if ends is not None and date.fromisoformat(ends) < day:
        return False
    prompt, completion = entry.get("input_cost_per_token"), entry.get("output_cost_per_token")
    if prompt is None or completion is None:
        return False
    return prefix_of(name) in LOCAL_PROVIDERS or bool(prompt and completion)


def _model(name: str, entry: Entry) -> dict[str, Any]:
    prompt, completion = entry["input_cost_per_token"], entry["output_cost_per_token"]
    model: dict[str, Any] = {
        "name": name,
        "tier": _tier(name, per_million(completion)).value,
        "prompt_price": per_million(prompt),
        "completion_price": per_million(completion),
    }
    if entry.get("cache_read_input_token_cost"):
        model["cached_price"] = per_million(entry["cache_read_input_token_cost"])
    if details := _details(entry):
        model["price_details"] = details
    return model | _limits(entry) | _abilities(entry)


def _tier(name: str, completion: str) -> Tier:
    if prefix_of(name) in LOCAL_PROVIDERS:
        return Tier.LOCAL
    return Tier.PREMIUM if Decimal(completion) >= PREMIUM_FROM else Tier.STANDARD


def _details(entry: Entry) -> dict[str, Any]:
    """What few models have. A zero says that nothing is added, and is left out: then the plain price holds."""
    details: dict[str, Any] = {new: per_million(entry[old]) for old, new in FURTHER.items() if entry.get(old)}
    above = {}
    for key in entry:
        if limit := re.fullmatch(r"input_cost_per_token_above_(\d+)k_tokens", key):
            suffix = f"_above_{limit[1]}k_tokens"
            tier = {new: per_million(entry[old + suffix]) for old, new in ABOVE.items() if entry.get(old + suffix)}
            above[str(int(limit[1]) * 1000)] = tier
    return details | ({"above": above} if above else {})


def _limits(entry: Entry) -> dict[str, int]:
    limits = {"context_window": entry.get("max_input_tokens"), "max_output_tokens": entry.get("max_output_tokens")}
    return {name: int(limit) for name, limit in limits.items() if limit}


def _abilities(entry: Entry) -> dict[str, bool]:
    return {
        "supports_tools": bool(entry.get("supports_function_calling")),
        "supports_json": bool(entry.get("supports_response_schema")),
        "supports_vision": bool(entry.get("supports_vision")),
    }


def per_million(price: Decimal) -> str:
    """Dollars per token as dollars per million, exact, without an exponent."""
    text = format(price * 1_000_000, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _ollama() -> Iterator[dict[str, Any]]:
    for name, (window, has_tools, sees) in OLLAMA.items():
        for provider, tools in (("ollama", False), ("ollama_chat", has_tools)):
            yield {
                "name": f"{provider}/{name}",
                "tier": Tier.LOCAL.value,
                "prompt_price": "0",
                "completion_price": "0",
                "context_window": window,
                "supports_tools": tools,
                "supports_json": True,
                "supports_vision": sees,
            }


def _simulated() -> Iterator[dict[str, Any]]:
    """Routing prefers real models, whatever the order says."""
    for name, tier in SIMULATED_MODELS.items():
        yield {
            "name": f"{SIMULATED}/{name}",
            "tier": tier.value,
            "prompt_price": "0",
            "completion_price": "0",
            "context_window": SIMULATED_WINDOW,
            "supports_tools": True,
            "supports_json": False,
            "supports_vision": False,
            "routing_order": SIMULATED_ORDER,
        }


if __name__ == "__main__":
    sys.exit(main())
