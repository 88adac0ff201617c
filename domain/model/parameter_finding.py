"""What could be a parameter in the texts of a team: names, figures and dates that it repeats; and putting one there.

Rules only, no model: a proposal says why it is made, and whoever saves a template may take others.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final

from domain.model.blueprint import Blueprint
from domain.model.parameters import reference
from domain.model.rules import Rules
from domain.model.template import Parameter, ParameterType

MOST_PROPOSALS: Final = 20
MOST_LOOKED_AT: Final = 256_000
"""So many characters are looked at: as many as a template may have."""

SEVERAL: Final = 2
"""In so many texts a value has to stand to be proposed."""

_MOST_CANDIDATES: Final = 60
_MOST_SMALL: Final = 9
"""Numbers up to here count steps and options: two of them rarely mean the same."""


@dataclass(frozen=True, slots=True)
class ParameterProposal:
    """A value that could be a parameter: it stands `occurrences` times in the team's texts."""

    name: str
    type: ParameterType
    value: str
    occurrences: int
    reason: str

    @property
    def parameter(self) -> Parameter:
        """The parameter, which has the value by default: a team made without values is the one that there was."""
        default: Any = int(self.value) if self.type is ParameterType.NUMBER else self.value
        return Parameter(name=self.name, type=self.type, description=f"In place of “{self.value}”.", default=default)


def proposals(blueprint: Blueprint) -> list[ParameterProposal]:
    """What could be a parameter, what occurs most first, at most MOST_PROPOSALS. No two of them overlap."""
    texts = _bounded(_texts(blueprint))
    found = {each.value: each for each in _candidates(blueprint, texts)}
    while True:
        occurrences, spread = _counted(texts, found)
        ranked = sorted(found, key=lambda value: (-occurrences[value], value))
        rare = [value for value in found if spread[value] < SEVERAL]
        # Not what is a part of another one: without that it may occur more often.
        gone = [each for each in rare if not any(each in other and each != other for other in rare)]
        gone = gone or ranked[MOST_PROPOSALS:]  # without these, too, others may be found elsewhere, or not at all
        if not gone:
            break
        for value in gone:
            del found[value]
    names = _names([found[value] for value in ranked], texts)
    return [
        ParameterProposal(
            name, found[value].type, value, occurrences[value], f"{found[value].what} in {spread[value]} texts."
        )
        for name, value in zip(names, ranked, strict=True)
    ]


def with_parameters(blueprint: Blueprint, names: Mapping[str, str]) -> tuple[Blueprint, Counter[str]]:
    """The blueprint with `{{name}}` in place of each value, and how often each stood there; `names` by value.

    Whole words only, the longest value first, and nothing within braces: those are inputs of a kickoff.
    """
    counts: Counter[str] = Counter()
    if not names:
        return blueprint, counts
    pattern = _pattern(names)

    def change(text: str) -> str:
        return pattern.sub(put, text)

    def put(match: re.Match[str]) -> str:
        value = match.group(_VALUE)
        if value is None:
            return match.group()
        counts[value] += 1
        return reference(names[value])

    return _rewritten(blueprint, change), counts


def _rewritten(blueprint: Blueprint, change: Callable[[str], str]) -> Blueprint:
    """The blueprint with all its texts changed, and what refers to them with them."""

    def maybe(text: str | None) -> str | None:
        return None if text is None else change(text)

    roles = [
        replace(
            role,
            title=change(role.title),
            description=change(role.description),
            goals=[*map(change, role.goals)],
            backstory=change(role.backstory),
            supervisor=maybe(role.supervisor),
        )
        for role in blueprint.roles
    ]
    tasks = [
        replace(
            task,
            name=change(task.name),
            description=change(task.description),
            expected_output=change(task.expected_output),
            role=maybe(task.role),
            depends_on=[*map(change, task.depends_on)],
            guardrail=maybe(task.guardrail),
        )
        for task in blueprint.tasks
    ]
    return replace(
        blueprint,
        name=change(blueprint.name),
        description=change(blueprint.description),
        manager=maybe(blueprint.manager),
        roles=roles,
        tasks=tasks,
    )


def _texts(blueprint: Blueprint) -> Iterator[str]:
    """All texts in which a value may stand, without those that only refer to others."""
    yield blueprint.name
    yield blueprint.description
    for role in blueprint.roles:
        yield from (role.title, role.description, *role.goals, role.backstory)
    for task in blueprint.tasks:
        yield from (task.name, task.description, task.expected_output, task.guardrail or "")


def _bounded(texts: Iterable[str]) -> list[str]:
    left, kept = MOST_LOOKED_AT, []
    for text in texts:
        if text and left > 0:
            kept.append(text[:left])
            left -= len(text)
    return kept


# ---------------------------------------------------------------- occurrences

_BRACED: Final = r"\{[^{}\n]{0,200}\}"
"""What stands in braces is an input, or a parameter already."""

_VALUE: Final = "value"


def _pattern(values: Iterable[str]) -> re.Pattern[str]:
    longest_first = sorted(values, key=lambda value: (-len(value), value))
    return re.compile(f"{_BRACED}|(?P<{_VALUE}>{'|'.join(map(_whole, longest_first))})")


def _whole(value: str) -> str:
    """The value where it is not a part of a longer word or number."""
    before = r"(?<!\w)" if value[0].isalnum() else ""
    after = r"(?!\w)" if value[-1].isalnum() else ""
    if value[0].isdigit():
        before = r"(?<![\w.,$€£¥])"
    if value[-1].isdigit():
        after = r"(?![\w%€]|[.,]\d|\s%)"
    return f"{before}{re.escape(value)}{after}"


def _counted(texts: Sequence[str], values: Iterable[str]) -> tuple[Counter[str], Counter[str]]:
    """How often each value stands in the texts, and in how many of them."""
    occurrences: Counter[str] = Counter()
    spread: Counter[str] = Counter()
    wanted = [*values]
    if wanted:
        pattern = _pattern(wanted)
        for text in texts:
            here = [match.group(_VALUE) for match in pattern.finditer(text) if match.group(_VALUE)]
            occurrences.update(here)
            spread.update(set(here))
    return occurrences, spread


# ---------------------------------------------------------------- candidates


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A value, what it is, and what it is called where its surroundings do not say."""

    value: str
    what: str
    name: str = ""
    type: ParameterType = ParameterType.STRING


_MONTH: Final = (
    "(?:January|February|March|April|May|June|July|August|September|October|November|December"
    "|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
)
_FORMS: Final = (
    ("A web address", "url", re.compile(r"(?<!\w)https?://[^\s<>\"“”«»(){}\[\]]{1,300}")),
    ("An e-mail address", "email", re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,5}")),
    (
        "An amount of money",
        "amount",
        re.compile(
            r"(?<![\w.,])(?:[$€£¥] ?\d[\d,.]{0,20}(?: ?(?:k|m|bn|thousand|million|billion)\b)?"
            r"|\d[\d,.]{0,20} ?(?:USD|EUR|GBP|CHF|JPY|dollars|euros|pounds|€)(?!\w))"
        ),
    ),
    (
        "A date",
        "date",
        re.compile(
            rf"(?<![\w.-])(?:\d{{4}}-\d\d-\d\d|\d{{1,2}} {_MONTH} \d{{4}}|{_MONTH} \d{{1,2}}, \d{{4}}"
            rf"|{_MONTH} \d{{4}}|Q[1-4] \d{{4}})(?!\w)"
        ),
    ),
    ("A percentage", "percentage", re.compile(r"(?<![\w.,])\d{1,6}(?:\.\d{1,4})? ?%")),
)
_QUOTED: Final = re.compile(r'“([^“”{}\n]{2,80})”|«([^«»{}\n]{2,80})»|(?<!\w)"([^"{}\n]{2,80})"(?!\w)')
_QUOTATION: Final = "A quoted phrase"
_NUMBER: Final = re.compile(r"(?<![\w.,$€£¥{])\d{2,9}(?![\w%€]|[.,]\d|\s%)")


def _candidates(blueprint: Blueprint, texts: Sequence[str]) -> list[_Candidate]:
    """What stands in several texts, each value once, as the first kind that it is found as."""
    found: dict[str, _Candidate] = {}
    spread: Counter[str] = Counter()
    for text in texts:
        here = {each.value: each for each in _in_text(text)}
        spread.update(here.keys())
        for value, candidate in here.items():
            found.setdefault(value, candidate)
    named = [_Candidate(value, "A part of the team's name") for value in _parts_of(blueprint.name, texts[1:])]
    titles = {*(role.title for role in blueprint.roles), *(task.name for task in blueprint.tasks)}
    several = [
        candidate
        for value, candidate in sorted(found.items(), key=lambda item: -spread[item[0]])
        if (spread[value] >= SEVERAL or candidate.what == _QUOTATION)
        and not (candidate.what == _PROPER and _is_within(value, titles))
        and _can_be_replaced(value)
    ]
    return [*named, *(each for each in several if each.value not in {it.value for it in named})][:_MOST_CANDIDATES]


def _can_be_replaced(value: str) -> bool:
    """Whether whoever saves the template may give it: see `templates`."""
    rules = Rules()
    rules.name(value)
    return not rules.problems


def _is_within(value: str, titles: Iterable[str]) -> bool:
    """Whether it is what a role or a task is called, or a part of that: texts speak of those by their titles."""
    return any(f" {value} " in f" {title} " for title in titles)


def _in_text(text: str) -> Iterator[_Candidate]:
    yield from _proper_names(text)
    for match in _NUMBER.finditer(text):
        if int(match.group()) > _MOST_SMALL and not match.group().startswith("0"):
            yield _Candidate(match.group(), "A number", type=ParameterType.NUMBER)
    for match in _QUOTED.finditer(text):
        if quoted := next(filter(None, match.groups())).strip():
            yield _Candidate(quoted, _QUOTATION)
    for what, name, form in _FORMS:  # last: what has a form is that, whatever else it may be
        for match in form.finditer(text):
            found = match.group().rstrip(".,;:!?")
            if found:
                yield _Candidate(found, what, name)


_WORD: Final = re.compile(r"[^\W_](?:[\w&\u2019'-]{0,40}\w)?")
_PROPER: Final = "A name"
_LONGEST_NAME: Final = 5
_MOST_WORDS: Final = 12
"""So many words of a team's name are looked for: all texts are read again for each part of it."""

_SHORTEST_NAME: Final = 3
_COMMON_WORDS: Final = (
    "a an the and or of for to in on at by with from as is are be it its this that these those each every all any no"
    " not if when then than so do does you your we our they their he she his her i"
    " monday tuesday wednesday thursday friday saturday sunday january february march april may june july august"
    " september october november december english markdown table list note example step phase section part"
    " team crew group project program plan campaign launch strategy report review analysis research marketing sales"
    " content product customer support data software engineering design service manager lead director analyst"
    " specialist writer editor expert senior junior intermediate agent assistant department company business"
)
_COMMON: Final = frozenset(_COMMON_WORDS.split())
"""What says nothing about whom or what a team works for."""


def _proper_names(text: str) -> Iterator[_Candidate]:
    """Words with capital letters, in the middle of sentences: at their beginning every word has one."""
    words = list(_WORD.finditer(text))
    run: list[re.Match[str]] = []
    for before, word in pairwise([None, *words]):
        if word is None:
            continue
        is_next = bool(run) and before is run[-1] and text[run[-1].end() : word.start()] == " "
        if run and not (is_next and _is_capital(word.group())):
            yield from _name_of(run)
            run = []
        if _is_capital(word.group()) and (run or not _begins_sentence(text, word.start())):
            run.append(word)
    yield from _name_of(run)


def _name_of(run: Sequence[re.Match[str]]) -> Iterator[_Candidate]:
    words = [match.group() for match in run[:_LONGEST_NAME]]
    while words and words[-1].lower() in _COMMON:
        words.pop()
    while words and words[0].lower() in _COMMON:
        words.pop(0)
    name = " ".join(words)
    # Capitals alone are mostly shorthand of the trade: SEO, KPI, JSON.
    if len(name) >= _SHORTEST_NAME and not name.isupper():
        yield _Candidate(name, _PROPER)


def _is_capital(word: str) -> bool:
    return word[0].isupper()


def _begins_sentence(text: str, place: int) -> bool:
    before = text[max(place - 20, 0) : place].rstrip(" \t*_#>(“\"'«")
    return not before or before[-1] in ".!?:;\n•-\u2013—|/" or before[-1].isdigit()


def _parts_of(name: str, texts: Sequence[str]) -> Iterator[str]:
    """The longest parts of a team's name that stand in its other texts, too, and mean something."""
    words = [match.group() for match in _WORD.finditer(name)][:_MOST_WORDS]
    taken: set[int] = set()
    for length in range(min(len(words), _LONGEST_NAME), 0, -1):
        for place in range(len(words) - length + 1):
            part = words[place : place + length]
            if taken & {*range(place, place + length)} or not _means_something(part):
                continue
            value = " ".join(part)
            if value in name and _counted([text for text in texts if value in text], [value])[1][value]:
                taken |= {*range(place, place + length)}
                yield value


def _means_something(words: Sequence[str]) -> bool:
    ends = (words[0], words[-1])
    if any(not _is_capital(word) or word.lower() in _COMMON for word in ends):
        return False
    return len(" ".join(words)) >= _SHORTEST_NAME and not " ".join(words).isupper()


# ---------------------------------------------------------------- names of parameters

_NAME_LENGTH: Final = 40
_NOT_PLAIN: Final = re.compile(r"[^a-z0-9]+")
_BEFORE: Final = re.compile(r"([a-z][a-z-]{2,30})[ :]{1,3}[“\"«(]?$")
_AFTER: Final = re.compile(r"\s([a-z][a-z-]{2,30})")


def _names(candidates: Sequence[_Candidate], texts: Sequence[str]) -> list[str]:
    """A name for each: what its surroundings call it, else what it is, else itself; each once."""
    taken: set[str] = set()
    names = []
    for candidate in candidates:
        name = _plain(_said(candidate, texts)) or candidate.name or _plain(candidate.value) or "value"
        numbered = (f"{name}_{number}" for number in range(2, len(candidates) + 2))
        names.append(next(each for each in (name, *numbered) if each not in taken))
        taken.add(names[-1])
    return names


def _plain(text: str) -> str:
    name = _NOT_PLAIN.sub("_", text.lower()).strip("_")[:_NAME_LENGTH].strip("_")
    return f"n_{name}" if name[:1].isdigit() else name


def _said(candidate: _Candidate, texts: Sequence[str]) -> str:
    """What the texts call the value most often: the noun before it (“the product X”), behind a number the one there."""
    said: Counter[str] = Counter()
    is_number = candidate.type is ParameterType.NUMBER
    for text in texts:
        place = text.find(candidate.value)
        if place < 0:
            continue
        match = _AFTER.match(text, place + len(candidate.value)) if is_number else None
        match = match or (None if is_number else _BEFORE.search(text[max(place - 40, 0) : place]))
        if match and match.group(1) not in _CONNECTING:
            said[match.group(1)] += 1
    for word, count in said.most_common(1):
        if count >= SEVERAL:
            return f"number_of_{word}" if is_number else word
    return ""


_CONNECTING_WORDS: Final = (
    "the and for from with about into onto over under than that this these those our your their its his her all any"
    " each every who which what where when how are was were has have will can may must should would could not only"
    " also like such per via use using write make create find launch promote sell visit see read ask tell reach show"
    " describe compare mention exactly least most more less between until before after since during within by at on in"
    " of to as is or an be it"
)
_CONNECTING: Final = frozenset(_CONNECTING_WORDS.split())
"""Words before a value that do not say what it is."""
