"""What validating a team costs: CPU of one validation of 20 roles and 20 tasks, against checking its own rules alone.

In one process. The stores answer at once, so it is the rules that are measured: matching, routing over all that ships
for each task, estimates, findings, success.
"""

import argparse
import asyncio
import os
import platform
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from benchmarks._runs import Series, no_collections, publish
from domain.model.availability import ModelRecords as Records
from domain.model.availability import OperatorModels, PriceRule, effective, offers
from domain.model.blueprint import Blueprint, RoleBlueprint, TaskBlueprint, ToolBlueprint
from domain.model.catalogue import shipped
from domain.model.generation import Constraints
from domain.model.history import SimilarHistory, TeamHistory
from domain.model.identity import DEFAULT_TENANT, TeamId, TenantId, utc_now
from domain.model.role import DelegatesTo, Expertise
from domain.model.routing import Offer
from domain.model.skill import SkillOutcome
from domain.model.skills_catalogue import skills
from domain.model.team import Process
from domain.model.tool import ToolKind
from domain.services.assessment import AssessTeam

ROLES: Final = 20
LED, PARALLEL, SMALL, RULES = "led", "parallel", "small", "rules"


@dataclass(frozen=True, slots=True)
class Size:
    """Rounds, and validations of each kind in a round."""

    rounds: int
    calls: int


FULL, QUICK = Size(10, 50), Size(2, 5)


class Catalogue:
    """What ships, with keys for two providers."""

    def __init__(self) -> None:
        operator = OperatorModels(providers=frozenset({"openai", "anthropic"}))
        models = effective(shipped(), ())
        self._offers = offers(models, Records((), (), {}), operator, PriceRule(), utc_now())

    async def offers(self, tenant_id: TenantId, named: str | None = None) -> Sequence[Offer]:
        del tenant_id, named
        return self._offers


class Histories:
    """A team without a past."""

    async def of_team(
        self, tenant_id: TenantId, team_id: TeamId, since: datetime | None = None, until: datetime | None = None
    ) -> TeamHistory:
        del tenant_id
        return TeamHistory(team_id, since, until)

    async def of_similar(
        self, tenant_id: TenantId, wanted: Sequence[str], without: TeamId | None = None
    ) -> SimilarHistory:
        del tenant_id, wanted, without
        return SimilarHistory()

    async def skill_outcomes(self, tenant_id: TenantId) -> Sequence[SkillOutcome]:
        del tenant_id
        return []


TEXT: Final = (
    "Analyze what is known of {product} in {market}, compare it with what others offer, and say what follows. "
)


def a_team(count: int, process: Process) -> Blueprint:
    """So many roles with skills and a tool each, and as many tasks, each of which waits for two others."""
    known = [skill.name for skill in skills()]
    tools = [ToolBlueprint(name=f"Tool {number}", kind=ToolKind.CALCULATOR) for number in range(count)]
    roles = [
        RoleBlueprint(
            title=f"Role {number}",
            expertise=list(Expertise)[number % len(Expertise)],
            description=TEXT,
            skills=known[number : number + 4],
            tools=[f"Tool {number}"],
            is_delegation_allowed=number % 3 == 0,
            delegates_to=DelegatesTo.ANYONE,
        )
        for number in range(count)
    ]
    tasks = [
        TaskBlueprint(
            name=f"Task {number}",
            description=TEXT * 3,
            expected_output="A report of 2 pages with figures, sources, and what remains open.",
            role=None if number % 4 == 0 else f"Role {number}",
            required_skills=known[number : number + 2],
            depends_on=[f"Task {other}" for other in (number - 1, number - 2) if other >= 0],
            guardrail="It names its sources." if number % 2 else None,
        )
        for number in range(count)
    ]
    return Blueprint(name="Team", process=process, roles=roles, tasks=tasks, tools=tools)


Way = Callable[[], Awaitable[Any]]


def ways() -> Mapping[str, Way]:
    assess, wanted = AssessTeam(_no_reader(), Catalogue(), Histories()), Constraints(budget=Decimal(5))
    large, parallel = a_team(ROLES, Process.HIERARCHICAL), a_team(ROLES, Process.PARALLEL)
    small = a_team(2, Process.SEQUENTIAL)

    async def rules() -> None:
        large.check()

    def validated(blueprint: Blueprint) -> Way:
        return lambda: assess.validate(DEFAULT_TENANT, blueprint, constraints=wanted)

    return {PARALLEL: validated(parallel), LED: validated(large), SMALL: validated(small), RULES: rules}


def _no_reader() -> Any:
    """A proposal that is in no project asks nothing of the store."""
    return None


async def measured(size: Size) -> Mapping[str, Series]:
    chosen = ways()
    figures = {name: Series() for name in chosen}
    for name, way in chosen.items():
        for _ in range(3):
            found = await way()
        assert name == RULES or found.estimate, "a team that is broken is done with too soon"
    with no_collections():
        for _ in range(size.rounds):
            for name, way in chosen.items():
                began = time.process_time()
                for _ in range(size.calls):
                    await way()
                figures[name].values.append((time.process_time() - began) / size.calls * 1000)
    return figures


TITLES: Final = {
    PARALLEL: f"validated: {ROLES} roles, {ROLES} tasks, PARALLEL",
    LED: f"validated: {ROLES} roles, {ROLES} tasks, HIERARCHICAL",
    SMALL: "validated: 2 roles, 2 tasks, SEQUENTIAL",
    RULES: f"its own rules alone: {ROLES} roles, {ROLES} tasks",
}


def report(figures: Mapping[str, Series], size: Size) -> str:
    dearest = figures[LED].median
    rows = "\n".join(
        f"| {title} | {figures[name]} | ±{100 * figures[name].spread:.0f} % |" for name, title in TITLES.items()
    )
    return (
        "# What validating a team costs\n\n"
        f"A team of {ROLES} roles and as many tasks: {dearest:.1f} ms CPU with a manager, of which its own rules take"
        f" {figures[RULES].median:.1f}.\n\n"
        "| CPU ms each, median (lowest to highest round) | | noise |\n|---|---:|---:|\n"
        f"{rows}\n\n"
        f"How: one after another in one process, whose stores answer at once, so that the rules alone are measured;"
        f" for each task the offers of {len(shipped())} models are looked through. {size.rounds} rounds of all in turn,"
        f" {size.calls} of each; noise is half the distance between the lowest and the highest round.\n\n"
        f"Where: {os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}."
        f" Load average at the end: {os.getloadavg()[0]:.1f}.\n\n"
        "Again: `python -m benchmarks.validation`.\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few of each, nothing is written")
    size = QUICK if (quick := parser.parse_args().quick) else FULL
    publish("validation", report(asyncio.run(measured(size)), size), quick=quick)


if __name__ == "__main__":
    main()
