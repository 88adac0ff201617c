"""What a new execution does about those of its team that are under way: waits, is refused, or takes their place."""

from collections.abc import Sequence

from domain.errors import TeamBusy
from domain.model.execution import UNDER_WAY, Execution
from domain.model.identity import ExecutionId, TeamId
from domain.model.team import WhenBusy
from domain.ports import UnitOfWork
from domain.services.cancelling import request_cancel

MOST_REPLACED = 100
"""So many executions make way for one, at most: they are cancelled in its own transaction."""


async def make_way(unit: UnitOfWork, team_id: TeamId, when_busy: WhenBusy) -> Sequence[Execution]:
    """Those that were asked to stop for a new execution of the team, as they are now; the caller tells of them.

    Of two at once that may not be beside each other the second one waits here, and then sees the first.
    Call it before an execution is locked: a team is locked first, then its executions by id.

    Raises TeamBusy when it has to be refused, also where more than `MOST_REPLACED` would have to make way.
    """
    if when_busy in (WhenBusy.QUEUE, WhenBusy.PARALLEL):
        return []
    await unit.definitions.lock(team_id)
    found = await unit.executions.under_way(team_id, MOST_REPLACED + 1)
    if found and (when_busy is WhenBusy.REJECT or len(found) > MOST_REPLACED):
        raise TeamBusy
    replaced = [await _replaced(unit, identifier) for identifier in found]
    return [execution for execution in replaced if execution is not None]


async def _replaced(unit: UnitOfWork, identifier: ExecutionId) -> Execution | None:
    """The execution after the request to stop; None when it does not need one any more."""
    execution = await unit.executions.lock(identifier)
    if execution.status not in UNDER_WAY:
        return None
    wanted = await request_cancel(unit, execution)
    return None if wanted is execution else wanted
