import base64
import json
import random
import socket
from collections.abc import Callable
from pathlib import Path
from time import thread_time
from typing import Any

import litellm
import pytest
import tiktoken
from litellm.utils import claude_json_str
from tokenizers import Tokenizer

from domain.crew.models import LiteLLMClient
from domain.model.model_names import PROVIDERS
from domain.model.tokens import (
    MESSAGE_TOKENS,
    TOOLS_TOKENS,
    estimated_request_tokens,
    estimated_tokens,
    most_request_tokens,
    most_tokens,
)
from domain.ports import ModelRequest

ROOT = Path(__file__).parents[3]
CATALOGUE = ROOT / "domain" / "model" / "catalogue.json"
LETTERS = "abcdefghijklmnopqrstuvwxyz"
DICE = random.Random(1)  # noqa: S311 - texts, not secrets


def drawn(alphabet: str, count: int = 2000) -> str:
    return "".join(DICE.choices(alphabet, k=count))


TEXTS = {
    "prose": "The quick brown fox jumps over the lazy dog, and then it thinks about markets. " * 20,
    "german": "Untersuche bitte den Fahrradmarkt in Lissabon und schreibe eine ausführliche Zusammenfassung. " * 20,
    "russian": "Проанализируйте рынок велосипедов в Лиссабоне. " * 20,
    "japanese": "市場の成長戦略を包括的に分析してください。東京の自転車市場は拡大している。" * 20,
    "burmese": "ဈေးကွက်ကို ခွဲခြမ်းစိတ်ဖြာပါ။ မြန်မာ ဘာသာ စကား" * 20,
    "code": Path(__file__).read_text(),
    "base64": base64.b64encode(DICE.randbytes(3000)).decode(),
    "hexadecimal": DICE.randbytes(2000).hex(),
    "digits": drawn("0123456789"),
    "table": "\n".join(",".join(DICE.choices("0123456789", k=20)) for _ in range(100)),
    "punctuation": drawn("!?.,;:-_#'+*~<>|&%$/()[]{}="),
    "letters": drawn(LETTERS),
    "capitals": drawn(LETTERS.upper()),
    "single letters": " ".join(DICE.choices(LETTERS, k=2000)),
    "lines": "a\n" * 1000,
    "emoji": "".join(chr(DICE.randint(0x1F300, 0x1F9FF)) for _ in range(500)),
    "rare scripts": "".join(chr(DICE.randint(0x10000, 0x1F000)) for _ in range(500)),
}


@pytest.fixture(scope="module")
def tokenizers() -> list[Callable[[str], int]]:
    """Those that LiteLLM brings along as files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", str(Path(litellm.__file__).parent / "litellm_core_utils" / "tokenizers"))
        gpt_4, gpt_4o = (tiktoken.get_encoding(name) for name in ("cl100k_base", "o200k_base"))
    claude: Any = Tokenizer.from_str(claude_json_str)
    return [
        lambda text: len(gpt_4.encode(text, disallowed_special=())),
        lambda text: len(gpt_4o.encode(text, disallowed_special=())),
        lambda text: len(claude.encode(text).ids),
    ]


@pytest.mark.parametrize("kind", TEXTS)
def test_no_tokenizer_finds_more_tokens_than_the_most(kind: str, tokenizers: list[Callable[[str], int]]) -> None:
    text = TEXTS[kind]

    assert (
        max(count(text) for count in tokenizers)
        <= most_tokens(text)
        <= len(json.dumps(text, ensure_ascii=False).encode())
    )


def test_the_estimate_of_prose_is_near_what_tokenizers_find(tokenizers: list[Callable[[str], int]]) -> None:
    text = TEXTS["prose"]

    assert all(0.6 < count(text) / estimated_tokens(text) < 1.6 for count in tokenizers)


def test_nothing_has_no_tokens() -> None:
    assert (estimated_tokens(""), most_tokens(""), most_request_tokens([]), estimated_request_tokens([])) == (
        0,
        0,
        0,
        0,
    )


def test_a_request_is_counted_with_all_that_is_sent() -> None:
    messages = [{"role": "user", "content": "Hi"}] * 2
    tool = {"type": "function", "function": {"name": "x"}}

    bare = most_request_tokens(messages)
    with_tools = most_request_tokens(messages, [tool])
    with_schema = most_request_tokens(messages, (), {"type": "object"})

    # Of the 63 bytes, 32 are small letters; of the schema's 17, 10.
    assert bare == 2 * MESSAGE_TOKENS + 63 - 32 // 3
    assert with_tools > bare + TOOLS_TOKENS
    assert with_schema == bare + 17 - 10 // 3
    assert estimated_request_tokens(messages, [tool]) < with_tools


def test_whatever_stands_in_a_message_is_counted() -> None:
    odd: list[dict[Any, Any]] = [{"role": "user", "content": "half a pair \ud800", "n": 2**70, 5: {1, 2}}]

    assert most_request_tokens(odd) > 40


def test_every_model_is_counted_at_once_and_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: Any, **_: Any) -> Any:
        raise AssertionError(given)

    for owner, name in (
        (socket, "getaddrinfo"),
        (socket.socket, "connect"),
        (socket.socket, "connect_ex"),
        (litellm, "token_counter"),
        (litellm, "encode"),
    ):
        monkeypatch.setattr(owner, name, refuse)
    client = LiteLLMClient()
    messages = [{"role": "system", "content": TEXTS["prose"]}, {"role": "user", "content": TEXTS["japanese"]}]
    names = seeded()

    began = thread_time()
    counts = {
        (client.most_prompt_tokens(request), client.estimate(request, TEXTS["code"]).completion_tokens)
        for request in (ModelRequest(name, messages, None, {"max_tokens": 9}, 5.0) for name in names)
    }

    assert thread_time() - began < 1.0  # the limit is the promise; the work takes a tenth of it
    assert len(names) > 100
    assert counts == {(most_request_tokens(messages), estimated_tokens(TEXTS["code"]))}


def seeded() -> list[str]:
    """The names of the shipped catalogue, in whatever way it lists them; those of LiteLLM's map until there is one."""
    if not CATALOGUE.exists():
        return [name for name, entry in litellm.model_cost.items() if entry.get("litellm_provider") in PROVIDERS]
    listed = json.loads(CATALOGUE.read_text())
    models = listed["models"] if isinstance(listed, dict) else listed
    return [entry["name"] for entry in models]


def test_nothing_of_ours_uses_a_tokenizer() -> None:
    sources = [path for folder in ("app", "domain", "persistence") for path in (ROOT / folder).rglob("*.py")]

    assert len(sources) > 50
    assert [path.name for path in sources if "token_counter(" in path.read_text()] == []
