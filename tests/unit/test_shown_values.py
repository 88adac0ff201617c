"""How values and names appear in texts."""

import pytest

from domain.errors import NotFound
from domain.model.rules import Rules
from domain.model.texts import seconds_of


@pytest.mark.parametrize(("seconds", "said"), [(1.0, "1 second"), (1.5, "1.5 seconds"), (3600.0, "3600 seconds")])
def test_durations_are_told_as_people_say_them(seconds: float, said: str) -> None:
    assert seconds_of(seconds) == said


@pytest.mark.parametrize(("kind", "named"), [("TaskExecution", "task execution"), ("Team", "team")])
def test_kinds_of_things_are_named_in_words(kind: str, named: str) -> None:
    assert str(NotFound(kind, "x")) == f"There is no {named} with this id."


def test_bounds_are_told_without_a_fraction_of_zero() -> None:
    rules = Rules()
    rules.between(7200, 1, 3600.0)
    rules.between(2, 0.5, 1.0)

    assert [problem.message for problem in rules.problems] == [
        "Must be between 1 and 3600.",
        "Must be between 0.5 and 1.",
    ]
