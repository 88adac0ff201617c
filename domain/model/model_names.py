"""Names of models: which providers a name may lead to, for that is decided here and not by who writes a role."""

import re
from typing import Final

SIMULATED: Final = "simulated"
PROVIDERS: Final = frozenset(
    {
        SIMULATED,
        "anthropic",
        "cohere",
        "cohere_chat",
        "deepseek",
        "fireworks_ai",
        "gemini",
        "groq",
        "mistral",
        "ollama",
        "ollama_chat",
        "openai",
        "openrouter",
        "perplexity",
        "together_ai",
        "xai",
    }
)
"""Those that need an API key of the operator or a local server. Others log in on a device, ask hubs, or take
whatever cloud credentials the machine happens to have."""

MAX_MODEL_NAME: Final = 200
_REFERENCE: Final = "os.environ/"
_NAME: Final = re.compile(r"[A-Za-z0-9._:@/+-]+")
_ELSEWHERE: Final = frozenset({"", ".", ".."})


def prefix_of(model: str) -> str | None:
    """The provider that the name begins with; None for a bare name like `gpt-4o-mini`."""
    prefix, slash, _ = model.partition("/")
    return prefix if slash else None


def is_model_name(model: str) -> bool:
    """Whether this can be a name at all: it may become a part of an address, and must not lead to another one there.

    Nor is a reference to the server's environment a name.
    """
    if not 0 < len(model) <= MAX_MODEL_NAME or not _NAME.fullmatch(model):
        return False
    return _ELSEWHERE.isdisjoint(model.split("/")) and _REFERENCE not in model


def is_provider_allowed(model: str) -> bool:
    """Whether the name leads to one of PROVIDERS; a bare name may, which only the price map can tell."""
    prefix = prefix_of(model)
    return prefix is None or prefix in PROVIDERS


def forbidden_provider(model: str) -> str:
    """The sentence for a name that `is_provider_allowed` refuses."""
    return f"Models of the provider {(prefix_of(model) or '')[:50]!r} cannot be used; {_offered()} can."


def _offered() -> str:
    *most, last = sorted(PROVIDERS)
    return f"{', '.join(most)} and {last}"
