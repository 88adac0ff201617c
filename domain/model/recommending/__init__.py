"""Recommendations for teams, templates and workers: what their past speaks for, with figures, and how to do it.

Each rule has a module. It says nothing where there is too little to go by, and nothing that it cannot show.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final
from uuid import UUID

from domain.model.recommendation import Recommendation
from domain.model.recommending.better_templates import better_templates
from domain.model.recommending.bottlenecks import bottlenecks
from domain.model.recommending.cases import Case
from domain.model.recommending.dear_roles import dear_roles
from domain.model.recommending.guardrails import failing_guardrails
from domain.model.recommending.prompts import growing_prompts
from domain.model.recommending.unused_tools import unused_tools
from domain.model.recommending.workers import PoolPast, worker_pool

__all__ = ["MOST_RECOMMENDATIONS", "RULES", "Case", "PoolPast", "recommend"]

MOST_RECOMMENDATIONS: Final = 50

Rule = Callable[[Case], Iterator[Recommendation]]
RULES: Final[Sequence[Rule]] = (
    dear_roles,
    failing_guardrails,
    bottlenecks,
    growing_prompts,
    unused_tools,
    better_templates,
)


def recommend(cases: Iterable[Case], pool: PoolPast | None = None) -> list[Recommendation]:
    """What the past speaks for, the highest impact first; of a team nothing while too few executions are over.

    No two of them set the same field: the one of less impact is left out.
    """
    of_teams = [found for case in cases if case.is_enough for rule in RULES for found in rule(case)]
    of_workers = [] if pool is None else list(worker_pool(pool))
    taken: set[tuple[UUID, str]] = set()
    kept: list[Recommendation] = []
    for found in sorted([*of_teams, *of_workers], key=lambda each: each.rank):
        if taken.isdisjoint(found.fields):
            taken |= found.fields
            kept.append(found)
    return kept
