"""Words of texts, for rules that look for one text in another: folded, without plurals, whatever the language."""

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

_WORD: Final = re.compile(r"\w+")
_SHORT: Final = 4
"""Words of so few letters keep their last one: “news”, “this”."""

_REMEMBERED: Final = 200
"""Texts of so many characters are short: tenants give longer ones, and many of them would fill the memory."""


@dataclass(frozen=True, slots=True)
class Wording:
    """A text as it is looked through: its words each once, all of them in order, and the folded text."""

    words: frozenset[str]
    line: str
    folded: str

    def says(self, phrase: str) -> bool:
        """Whether the phrase stands in the text, as whole words, whatever the case and the number."""
        terms = terms_of(phrase)
        if not terms:
            return False
        if not phrase.isascii() and _folded(phrase) in self.folded:
            return True  # scripts without blanks between words have no whole words
        return self.words.issuperset(terms) and (len(terms) == 1 or f" {' '.join(terms)} " in self.line)

    def share_of(self, phrase: str) -> float:
        """How much of the phrase's words stands anywhere in the text, 0 to 1."""
        terms = set(terms_of(phrase))
        return len(terms & self.words) / len(terms) if terms else 0.0


def wording_of(text: str) -> Wording:
    """The text, to be looked through; takes time by its length alone."""
    folded = _folded(text)
    words = [_singular(word) for word in _WORD.findall(folded)]
    return Wording(frozenset(words), f" {' '.join(words)} ", folded)


def terms_of(phrase: str) -> tuple[str, ...]:
    """The words of a text, as a Wording has them; those of short ones, which are asked for often, are remembered."""
    return _terms_of_short(phrase) if len(phrase) <= _REMEMBERED else _terms(phrase)


@lru_cache(maxsize=4096)
def _terms_of_short(phrase: str) -> tuple[str, ...]:
    return _terms(phrase)


def _terms(phrase: str) -> tuple[str, ...]:
    return tuple(_singular(word) for word in _WORD.findall(_folded(phrase)))


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _singular(word: str) -> str:
    if len(word) <= _SHORT or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    return word[:-3] + "y" if word.endswith("ies") else word[:-1]
