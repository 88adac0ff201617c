"""Whether a tool is known again by the name that CrewAI gives to models: against the function that makes it."""

import pytest
from crewai.utilities.string_utils import sanitize_tool_name

from domain.model.identity import DEFAULT_TENANT, ProjectId
from domain.model.recommending.unused_tools import CUT, is_called
from domain.model.tool import Tool, ToolKind


@pytest.mark.parametrize(
    "name",
    [
        "My Sums",
        "Größe (in cm)",
        "HTTPGetJSON",
        "Don't ask",
        "Search the web for a list of all of the new EU rules on AI of 2026 and more",
        "aB" * 40,  # each letter is one of two characters
        "x" * 54 + " " + "y" * 20,  # what is cut off begins with an underscore
        "x" * 64,
        "x" * 65,
    ],
)
def test_a_tool_is_known_by_the_name_that_crewai_gives_it(name: str) -> None:
    tool = Tool(DEFAULT_TENANT, ProjectId(DEFAULT_TENANT), name, ToolKind.CALCULATOR)
    other = Tool(DEFAULT_TENANT, ProjectId(DEFAULT_TENANT), f"Other {name}", ToolKind.CALCULATOR)
    called = sanitize_tool_name(name)

    assert is_called(tool, called)
    assert not is_called(other, called)


def test_a_name_that_is_cut_off_is_at_least_as_long_as_is_looked_for() -> None:
    lengths = {len(sanitize_tool_name("x" * length + " " + "y" * 80)) for length in range(1, 80)}

    assert min(lengths) == CUT
