"""What a deployment's settings mean for what is said of teams."""

from typing import Any

import pytest

from app.assessing import assessment_rules
from app.settings import Settings
from domain.model.tool import ToolKind

OWN = {"class_name": "FileReadTool"}


def problem(kind: ToolKind, configuration: dict[str, Any], **settings: Any) -> str | None:
    return assessment_rules(Settings(**settings)).tools.problem_of(kind, configuration)


@pytest.mark.parametrize(
    ("settings", "can_search"),
    [
        ({}, False),
        ({"search_endpoint": "https://search.example.org"}, True),
        ({"search_kind": "serper"}, False),
        ({"search_kind": "serper", "search_key": "key"}, True),
        ({"search_kind": "searxng", "search_key": "key"}, False),
    ],
)
def test_a_search_can_be_used_where_a_run_could_use_it(settings: dict[str, Any], *, can_search: bool) -> None:
    found = problem(ToolKind.WEB_SEARCH, {}, **settings)

    assert (found is None) is can_search


def test_only_classes_that_the_operator_allows_can_be_used() -> None:
    assert problem(ToolKind.CREWAI_TOOL, OWN) == "The class 'FileReadTool' is not allowed on this server."
    assert problem(ToolKind.CREWAI_TOOL, OWN, crewai_tools=("Other", "FileReadTool:path+line")) is None


def test_other_kinds_need_nothing_of_the_deployment() -> None:
    others = set(ToolKind) - {ToolKind.WEB_SEARCH, ToolKind.CREWAI_TOOL}

    assert [problem(kind, {}) for kind in others] == [None] * len(others)


def test_the_deployments_model_and_limit_are_those_of_runs() -> None:
    rules = assessment_rules(Settings(model="openai/gpt-4o-mini", max_output_tokens=100))

    assert (rules.default_model, rules.max_output_tokens) == ("openai/gpt-4o-mini", 100)
