"""Tools that roles have and never call: what describes them is read with every call."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Final
from uuid import UUID

from domain.model.optimization import Evidence, ExpectedEffect, Metric
from domain.model.optimizing.proposals import effect
from domain.model.recommendation import Recommendation, RecommendationKind, RecommendedAction, Reference
from domain.model.recommending.cases import Case
from domain.model.recommending.records import PastTask, total
from domain.model.role import Role
from domain.model.tokens import estimated_tokens
from domain.model.tool import Tool, ToolKind

ENOUGH_WATCHED: Final = 10
"""Executions in which a role worked and its tools were watched: a tool may be for the rarer case."""

SCHEMA_TOKENS: Final = 100
"""What the arguments of a tool take beside its name and description, about."""

CUT: Final = 63
"""From so many characters on, a name that ends with a hash may have been cut off for the model: 64, or one less where
an underscore fell away."""

_OTHER: Final = re.compile(r"[^a-z0-9]+")
_HASHED: Final = re.compile(r"(.+)_[0-9a-f]{8}")


def unused_tools(case: Case) -> Iterator[Recommendation]:
    """One for each active role with tools that it has not called since it was given them."""
    for role in case.snapshot.roles:
        tools = case.snapshot.tools_of(role)
        unused = [tool for tool in tools if _is_unused(case, role, tool, tools)]
        if role.is_active and unused:
            yield _unused(case, role, tools, unused)


def _is_unused(case: Case, role: Role, tool: Tool, tools: Sequence[Tool]) -> bool:
    watched = _watched(case, role, [tool])
    if len(_executions(watched)) < ENOUGH_WATCHED:
        return False
    called = {name for each in _seen(case, role, [tool]) for name in _called(case, role, each)}
    if tool.kind is not ToolKind.MCP_SERVER:
        return not any(is_called(tool, name) for name in called)
    # A server's tools have names of their own: whatever belongs to no other tool may be one of them.
    others = [other for other in tools if other.kind is not ToolKind.MCP_SERVER]
    return all(any(is_called(other, name) for other in others) for name in called)


def _watched(case: Case, role: Role, tools: Sequence[Tool]) -> list[PastTask]:
    """What the role completed by asking a model: what failed before a tool could be called says nothing of it."""
    return [past for past in _seen(case, role, tools) if past.is_completed and past.calls]


def _seen(case: Case, role: Role, tools: Sequence[Tool]) -> list[PastTask]:
    """What the role did with these tools as they are, in executions that tell what it called."""
    since = max(role.updated_at, *(tool.updated_at for tool in tools))
    return [
        past for past in case.past.of_role(role) if past.created_at >= since and past.execution_id in case.past.watched
    ]


def _executions(tasks: Sequence[PastTask]) -> set[UUID]:
    return {each.execution_id for each in tasks}


def _called(case: Case, role: Role, past: PastTask) -> frozenset[str]:
    return case.past.called.get((past.execution_id, role.id), frozenset())


def is_called(tool: Tool, name: str) -> bool:
    """Whether a name that a model called may be that of the tool, as CrewAI writes it (`sanitize_tool_name`).

    Only letters and digits are compared. Of a name that was cut off, with a hash for the rest, what is before the hash:
    a tool that begins alike is rather taken for used. Without any letters the tool is called by its kind.
    """
    plain = _plain(tool.name) or _plain(tool.kind.value)
    cut = _HASHED.fullmatch(name) if len(name) >= CUT else None
    return plain == _plain(name) or (cut is not None and plain.startswith(_plain(cut[1])))


def _plain(name: str) -> str:
    shown = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return _OTHER.sub("", shown)


def _unused(case: Case, role: Role, tools: Sequence[Tool], unused: Sequence[Tool]) -> Recommendation:
    own = _watched(case, role, unused)
    watched = _executions(own)
    shown = ", ".join(f"“{tool.name}”" for tool in unused)
    return Recommendation(
        RecommendationKind.UNUSED_TOOL,
        f"“{role.title}” does not use {shown}",
        f"What describes a tool is read with every call, used or not. Without {shown}, the prompts of “{role.title}”"
        " are shorter; a tool for a rare case may still be worth it.",
        [
            Evidence(
                f"Called in none of {len(watched)} executions in which “{role.title}” did its work.", len(watched)
            ),
            Evidence(f"About {_tokens(unused)} tokens of each prompt describe it: an estimate.", _tokens(unused)),
        ],
        _effects(case, own, unused),
        len(watched),
        unused[0] if len(unused) == 1 else role,
        case.snapshot.team.id,
        _without(role, [tool for tool in tools if tool not in unused], shown),
        case.spent,
    )


def _without(role: Role, kept: Sequence[Tool], shown: str) -> RecommendedAction:
    arguments = {
        "id": Reference("Role", role.id),
        "version": role.version,
        "toolIds": [Reference("Tool", tool.id) for tool in kept],
    }
    return RecommendedAction("updateRole", arguments, f"Take {shown} from “{role.title}”.")


def _tokens(tools: Sequence[Tool]) -> int:
    return sum(SCHEMA_TOKENS + estimated_tokens(f"{tool.name} {tool.description}") for tool in tools)


def _effects(case: Case, own: Sequence[PastTask], unused: Sequence[Tool]) -> Sequence[ExpectedEffect]:
    """By what part of its prompts describes them, of what reading costs; nothing where that is not known."""
    prompt, calls = sum(each.prompt_tokens for each in own), sum(each.calls for each in own)
    if not prompt:
        return []
    part = min(1.0, _tokens(unused) * calls / prompt)
    saved = part * case.prompt_share(own) * case.share(total(own))
    return [effect(Metric.COST, -saved, -saved / 2)] if saved else []
