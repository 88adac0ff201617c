"""What a proposal makes of the team that it is for."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from domain.model.blueprint import Blueprint, RoleBlueprint, blueprint_of, from_document
from domain.model.difference import Difference, differences
from domain.model.generation import ProposedChange
from domain.model.revision import TeamSnapshot
from domain.model.role import default_backstory, default_goal
from domain.model.team import Team


def differences_of(change: ProposedChange, base: TeamSnapshot) -> list[Difference]:
    """What the proposal would change of the team as it was when that was asked for."""
    before, after = blueprint_of(base), from_document(change.proposal)
    return differences(_comparable(before), _comparable(_with_tools_of(before, after)))


def _with_tools_of(before: Blueprint, after: Blueprint) -> Blueprint:
    """With the tools that roles use, and of these the ones of the team as they are: no change of it touches them."""
    known = {tool.name: tool for tool in before.tools}
    used = {name for role in after.roles for name in role.tools}
    return replace(after, tools=[known.get(tool.name, tool) for tool in after.tools if tool.name in used])


def _comparable(blueprint: Blueprint) -> Blueprint:
    """Without what differs but means the same, and without the monthly budget, which no proposal is about."""
    return replace(
        blueprint,
        monthly_budget=None,
        roles=[_written_out(role) for role in blueprint.roles],
    )


def _written_out(role: RoleBlueprint) -> RoleBlueprint:
    """With the goals and the backstory that are written where none is given, as those of a team are."""
    return replace(
        role,
        goals=role.goals or [default_goal(role.title, role.expertise)],
        backstory=role.backstory or default_backstory(role.title, role.expertise),
    )


def kept(wanted: Blueprint, team: Team, edits: Mapping[str, Any]) -> Blueprint:
    """The wanted blueprint with what the team keeps unless somebody edits it: its monthly budget."""
    return wanted if "monthly_budget" in edits else replace(wanted, monthly_budget=team.monthly_budget)
