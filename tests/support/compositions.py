"""Teams as a model words them when it is asked to compose one, and what such an answer is judged against."""

import json
from typing import Any

from domain.model.analysing import analyse
from domain.model.composing import Ground
from domain.model.generation import Constraints
from domain.model.identity import DEFAULT_TENANT, ProjectId, new_id
from domain.model.library import shipped_templates
from domain.model.skills_catalogue import skills
from domain.model.tool import Tool, ToolKind

PROJECT = ProjectId(new_id())


def a_tool(name: str = "Sums", kind: ToolKind = ToolKind.CALCULATOR, **values: Any) -> Tool:
    return Tool(DEFAULT_TENANT, PROJECT, name, kind, **values)


def a_role(title: str, **values: Any) -> dict[str, Any]:
    return {"title": title, "description": f"Knows all about it as {title}.", "expertise": "SENIOR", **values}


def a_task(name: str, role: str | None, **values: Any) -> dict[str, Any]:
    return {
        "name": name,
        "description": f"Do {name.lower()} thoroughly, with sources.",
        "expected_output": "A page of text with its sources.",
        "role": role,
        **values,
    }


def a_team(**values: Any) -> dict[str, Any]:
    """Two roles, and two tasks of which one waits for the other."""
    return {
        "name": "Market watch",
        "description": "Watches a market.",
        "process": "SEQUENTIAL",
        "roles": [a_role("Researcher", skills=["research"]), a_role("Writer", skills=["writing"])],
        "tasks": [a_task("Find out", "Researcher"), a_task("Write up", "Writer", depends_on=["Find out"])],
        **values,
    }


def an_answer(**values: Any) -> str:
    """The same as a model's text."""
    return json.dumps(a_team(**values))


def a_ground(objective: str = "Write a research report about bicycles.", **values: Any) -> Ground:
    """What rules compose from, with all that ships."""
    constraints = values.pop("constraints", None) or Constraints()
    analysis = values.pop("analysis", None) or analyse(objective, constraints, skills(), shipped_templates())
    given = {"skills": skills(), "templates": shipped_templates(), **values}
    return Ground(objective=objective, constraints=constraints, analysis=analysis, **given)
