"""The rules of projects, teams, roles, tasks and tools: what is refused, where, and what is written for the user."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import (
    Archived,
    Conflict,
    DependencyCycle,
    Invalid,
    NotFound,
    RegattaError,
    StaleVersion,
    SupervisorCycle,
    located,
)
from domain.model.graph import find_cycle
from domain.model.identity import DEFAULT_TENANT, ProjectId, TeamId, new_id
from domain.model.project import Project
from domain.model.role import (
    Expertise,
    Role,
    check_supervisors,
    default_backstory,
    default_goal,
    most_senior,
)
from domain.model.rules import MAX_DEPTH, Rules
from domain.model.task import Task
from domain.model.team import Team
from domain.model.tool import Tool, ToolKind

TEAM, PROJECT = TeamId(new_id()), ProjectId(new_id())


def a_role(title: str = "Analyst", **values: Any) -> Role:
    return Role(DEFAULT_TENANT, TEAM, title, **values)


def problems(check: Callable[[], None]) -> list[tuple[str, str]]:
    """Where and what; empty when the check passes."""
    try:
        check()
    except Invalid as error:
        return [(".".join(problem.path), problem.message) for problem in error.problems]
    return []


def of(rule: Callable[[Rules], None]) -> list[str]:
    """What one rule says."""
    rules = Rules("under")
    rule(rules)
    found = problems(rules.hold)
    assert all(place == "under.it" for place, _ in found)
    return [message for _, message in found]


# ---------------------------------------------------------------- limits


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("n", []),
        ("n" * 200, []),
        ("Équipe 日本 🚣", []),
        ("n" * 201, ["At most 200 characters."]),
        ("", ["A name is required."]),
        ("\t", ["A name is required.", "Control characters are not allowed in a name."]),
        ("a\nb", ["Control characters are not allowed in a name."]),
        ("a\u0000", ["Control characters are not allowed in a name."]),
        ("a\ud800", ["Control characters are not allowed in a name."]),
    ],
)
def test_names(name: str, told: list[str]) -> None:
    assert of(lambda rules: rules.name(name, "it")) == told


@pytest.mark.parametrize(
    ("value", "is_allowed"),
    [(None, True), (0, True), (9, True), (-1, False), (10, False), (float("nan"), False), (float("inf"), False)],
)
def test_numbers_stand_between_two_bounds(value: float | None, is_allowed: bool) -> None:
    assert of(lambda rules: rules.between(value, 0, 9, "it")) == ([] if is_allowed else ["Must be between 0 and 9."])


def nested(levels: int) -> Any:
    value: Any = {}
    for _ in range(levels - 1):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("document", "is_allowed"),
    [
        ({"a": [1, 2.5, None, True, "é"]}, True),
        (nested(MAX_DEPTH), True),
        (nested(MAX_DEPTH + 1), False),
        (nested(100_000), False),
        ({"a": 2**63 - 1, "b": -(2**63)}, True),
        ({"a": 2**63}, False),
        ({"a": float("inf")}, False),
        ({"a": "\u0000"}, False),
        ({"\u0000": 1}, False),
        ({"a": "\\u0001"}, True),
        ({"a": object()}, False),
        ({"a": "b" * 63_991}, True),
        ({"a": "b" * 63_992}, False),
    ],
    ids=[
        "values",
        "deep",
        "too-deep",
        "far-too-deep",
        "integers",
        "too-large-integer",
        "infinity",
        "NUL",
        "NUL-key",
        "escape",
        "object",
        "large",
        "too-large",
    ],
)
def test_documents_are_plain_json_of_bounded_size_and_depth(
    document: Any,
    is_allowed: bool,
) -> None:
    assert bool(of(lambda rules: rules.document(document, "it"))) is not is_allowed


def test_all_broken_rules_are_told_at_once_each_with_its_place() -> None:
    tool = Tool(DEFAULT_TENANT, PROJECT, "", ToolKind.MCP_SERVER, "d" * 20_001, {"url": 1})

    assert problems(tool.check) == [
        ("name", "A name is required."),
        ("description", "At most 20000 characters."),
        ("configuration.url", "A MCP_SERVER needs the text 'url'."),
    ]


@pytest.mark.parametrize(
    "thing",
    [
        Project(DEFAULT_TENANT, "P"),
        Team(DEFAULT_TENANT, PROJECT, "T"),
        a_role(),
        Task(DEFAULT_TENANT, TEAM, "T", "Do.", "Done."),
        Tool(DEFAULT_TENANT, PROJECT, "T", ToolKind.CALCULATOR),
    ],
    ids=lambda thing: type(thing).__name__,
)
def test_a_thing_with_its_defaults_keeps_all_rules(thing: Project | Team | Role | Task | Tool) -> None:
    assert problems(thing.check) == []


# ---------------------------------------------------------------- roles


def test_expertise_is_an_order_and_not_an_alphabet() -> None:
    assert sorted(Expertise) == [Expertise.JUNIOR, Expertise.INTERMEDIATE, Expertise.SENIOR, Expertise.EXPERT]
    assert sorted(Expertise, key=lambda it: it.value) != sorted(Expertise)


def test_goal_and_backstory_are_written_when_there_are_none() -> None:
    written = a_role("Chemist", expertise=Expertise.EXPERT)
    given_ones = a_role("Chemist", goals=["Mix"], backstory="Old.")

    assert written.goals == [default_goal("Chemist", Expertise.EXPERT)] == ["Expert expert level Chemist"]
    assert written.backstory == default_backstory("Chemist", Expertise.EXPERT)
    assert written.backstory.startswith("You work as Chemist. You are a recognised authority")
    assert (given_ones.goals, given_ones.backstory) == (["Mix"], "Old.")


def test_a_title_that_is_too_long_is_told_once_although_texts_were_written_from_it() -> None:
    assert problems(a_role("t" * 30_000).check) == [("title", "At most 200 characters.")]


@pytest.mark.parametrize(
    "model",
    [
        "",
        "m" * 201,
        "os.environ/KEY",
        "openai/os.environ/KEY",
        "a\nb",
        " openai/gpt-4o",
        "openai/gpt-4o ",
        "openai/gpt-4o?x=1",
        "gemini/../../../evil",
        "gemini/./x",
        "gemini//x",
        "/x",
        "openai/",
        "gemini/a#b",
        "gemini/%2e%2e",
        "openai/a\\b",
        "openai/gpt-\u00e4",
    ],
)
def test_a_model_name_gives_no_secret_away(model: str) -> None:
    assert problems(a_role(model=model).check) == [("model", "This is no model name.")]


@pytest.mark.parametrize("model", ["github_copilot/gpt-4o", "chatgpt/x", "bedrock/x", "vertex_ai/x", "OpenAI/x"])
def test_a_model_of_a_provider_that_is_not_on_the_list_is_refused(model: str) -> None:
    [(path, message)] = problems(a_role(model=model).check)

    assert path == "model"
    assert message.startswith(f"Models of the provider {model.partition('/')[0]!r} cannot be used; anthropic, ")


@pytest.mark.parametrize("model", ["gpt-4o-mini", "openai/gpt-4o-mini", "openrouter/meta/llama", "simulated/x", None])
def test_a_model_of_a_known_provider_and_a_bare_name_are_fine(model: str | None) -> None:
    assert problems(a_role(model=model).check) == []


@pytest.mark.parametrize(
    "url",
    ["", "http://[::1", "ftp://a.example/", "//a.example", "http://", "https://me:secret@a.example/mcp", "http://a:b/",
     "http://a b/", "file:///etc/passwd", "http://a.example/\n", "http://a:99999/"],
)  # fmt: skip
def test_the_url_of_an_mcp_server_is_a_web_address(url: str) -> None:
    tool = Tool(DEFAULT_TENANT, PROJECT, "T", ToolKind.MCP_SERVER, configuration={"url": url})

    [(path, message)] = problems(tool.check)

    assert path == "configuration.url"
    assert message.startswith("This is no web address like https://mcp.example.org/mcp")


@pytest.mark.parametrize("url", ["https://mcp.example.org/mcp?a=b", "http://127.0.0.1:8000/sse", "http://[::1]:9/mcp"])
def test_any_web_address_is_fine_for_an_mcp_server(url: str) -> None:
    tool = Tool(DEFAULT_TENANT, PROJECT, "T", ToolKind.MCP_SERVER, configuration={"url": url})

    assert problems(tool.check) == []


@pytest.mark.parametrize("name", ["api_base", "api_key", "base_url", "extra_headers", "model", "callbacks"])
def test_model_parameters_cannot_turn_a_call_elsewhere(name: str) -> None:
    told = problems(a_role(model_parameters={name: "x", "seed": 1}).check)

    assert told == [(f"modelParameters.{name}", "This parameter is not allowed.")]


def test_the_most_senior_role_is_active_and_the_first_among_equals() -> None:
    roles = [
        a_role("away", expertise=Expertise.EXPERT, is_active=False),
        a_role("second", expertise=Expertise.SENIOR, position=2),
        a_role("first", expertise=Expertise.SENIOR, position=1),
        a_role("junior", expertise=Expertise.JUNIOR),
    ]

    assert most_senior(roles) is roles[2]
    assert most_senior(roles[:1]) is None


def test_roles_that_supervise_each_other_are_named() -> None:
    lead, writer, free = a_role("Lead"), a_role("Writer"), a_role("Free")
    writer.supervisor_id = lead.id
    check_supervisors([lead, writer, free])
    lead.supervisor_id = writer.id

    with pytest.raises(SupervisorCycle) as caught:
        check_supervisors([lead, writer, free])

    assert caught.value.cycle in (("Lead", "Writer", "Lead"), ("Writer", "Lead", "Writer"))
    assert caught.value.path == ("supervisorId",)


# ---------------------------------------------------------------- graphs


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=20))
def test_a_cycle_is_found_exactly_when_there_is_one_and_follows_the_edges(pairs: list[tuple[int, int]]) -> None:
    nodes = [new_id() for _ in range(8)]
    edges = {node: [nodes[to] for start, to in pairs if nodes[start] == node] for node in nodes}

    cycle = find_cycle(edges)

    if cycle:
        assert cycle[0] == cycle[-1]
        assert all(after in edges[before] for before, after in pairwise(cycle))
    else:
        reachable = {node: _reachable(edges, node) for node in nodes}
        assert not [node for node in nodes if node in reachable[node]]


def _reachable(edges: dict[Any, list[Any]], start: Any) -> set[Any]:
    seen: set[Any] = set()
    ahead = list(edges[start])
    while ahead:
        node = ahead.pop()
        if node not in seen:
            seen.add(node)
            ahead += edges[node]
    return seen


# ---------------------------------------------------------------- errors and values


def test_an_error_is_located_where_it_was_raised_or_else_around_it() -> None:
    errors: list[RegattaError] = [NotFound("Team", "x"), Archived("Team").under("inner"), StaleVersion("Team", 1, 2)]

    for error in errors:
        with pytest.raises(type(error)), located("outer"):
            raise error

    assert [error.path for error in errors] == [("outer",), ("inner",), ("version",)]


def test_the_place_of_one_error_is_not_that_of_its_class() -> None:
    with pytest.raises(NotFound), located("somewhere"):
        raise NotFound("Team", "x")

    assert NotFound("Team", "y").path == ()


def test_every_conflict_is_one_and_carries_data() -> None:
    error = DependencyCycle(["A", "B", "A"])

    assert isinstance(error, Conflict)
    assert (error.cycle, error.path, str(error)) == (
        ("A", "B", "A"),
        ("dependsOn",),
        "These tasks would wait for each other: A → B → A.",
    )


def test_ids_sort_by_the_time_they_were_made() -> None:
    ids = [new_id() for _ in range(1_000)]

    assert ids == sorted(ids)
    assert {identifier.version for identifier in ids} == {7}
