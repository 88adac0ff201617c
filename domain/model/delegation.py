"""Delegation: to whom a role of a HIERARCHICAL team may hand work on; pure rules over roles.

* A role hands on only if it is allowed to, only tasks of the kinds that its rule names (none named: of any kind), and
  only to active roles: to those below it, at any depth, or to anyone.
* The manager of the team needs no permission, for that is what it is there for. Told to stay with its subordinates,
  it does so if it has any, and else may choose among all. Kinds that its rule names bind it like anybody else: a task
  of another kind it does itself.
* A task that was given to a role is its own: the manager hands it to that role, whatever the rules say, and to others
  only where both may.
"""

import re
from collections.abc import Sequence

from domain.model.identity import RoleId
from domain.model.role import DelegatesTo, Role, most_senior

MOST_LEVELS = 3
"""How often work is handed on below the manager: whoever gets it last does it."""


def allowed_to(role: Role, roles: Sequence[Role], kind: str) -> list[Role]:
    """The roles, in order, to whom `role` may hand on a task of this kind."""
    if not role.is_delegation_allowed or not _is_for(role, kind):
        return []
    return _below(role, roles) if role.delegates_to is DelegatesTo.SUBORDINATES else _others(role, roles)


def allowed_to_manager(manager: Role, roles: Sequence[Role], kind: str) -> list[Role]:
    """The roles, in order, to whom the team's manager may hand on a task of this kind."""
    if not _is_for(manager, kind):
        return []
    below = _below(manager, roles) if manager.delegates_to is DelegatesTo.SUBORDINATES else []
    return below or _others(manager, roles)


def allowed_for_task(manager: Role, roles: Sequence[Role], kind: str, meant_for: RoleId) -> list[Role]:
    """To whom the manager may hand on a task that is meant for a role: that one first, if it is active."""
    reached = allowed_to_manager(manager, roles, kind)
    meant = next((role for role in _others(manager, roles) if role.id == meant_for), None)
    if meant is None:
        return reached
    further = {role.id for role in allowed_to(meant, roles, kind)}
    return [meant, *(role for role in reached if role.id in further)]


def best_suited(roles: Sequence[Role], text: str) -> Role | None:
    """The role with the most skills that the text names, the most senior among equals; None without an active one."""
    words = _words(text)
    fit = {role.id: sum(_words(skill) <= words for skill in role.skills if _words(skill)) for role in roles}
    best = max(fit.values(), default=0)
    return most_senior([role for role in roles if fit[role.id] == best])


def _is_for(role: Role, kind: str) -> bool:
    named = {name.strip().casefold() for name in role.delegation_kinds}
    return not named or kind.strip().casefold() in named


def _others(role: Role, roles: Sequence[Role]) -> list[Role]:
    return [other for other in roles if other.is_active and other.id != role.id]


def _below(role: Role, roles: Sequence[Role]) -> list[Role]:
    found, size = {role.id}, 0
    while len(found) > size:
        size = len(found)
        found |= {other.id for other in roles if other.supervisor_id in found}
    return [other for other in _others(role, roles) if other.id in found]


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.casefold()))
