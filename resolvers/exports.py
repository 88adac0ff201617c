"""The addresses of downloads: how a filter is written into one, and how it is read there again."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final
from urllib.parse import urlencode
from uuid import UUID

import strawberry

from domain.errors import Invalid
from domain.model.execution import ExecutionStatus
from domain.model.exports import Export, ExportFormat, file_name
from domain.model.identity import utc_now
from domain.model.page import Condition
from domain.model.texts import camel
from resolvers.edges import storable
from resolvers.filters import ExecutionFilter, ExecutionStatusFilter, MomentFilter, conditions_of
from resolvers.node_ids import node_id

EXECUTIONS_PATH: Final = "/exports/executions"

FormatArgument = Annotated[ExportFormat, strawberry.argument(description="How the file is written.")]
FilterArgument = Annotated[
    ExecutionFilter | None, strawberry.argument(description="Only those that meet all of these conditions.")
]

_KINDS: Final = {"project_id": "Project", "team_id": "Team"}
_PARAMETERS: Final = frozenset(
    ("format", "projectId", "teamId", "status", "createdAt.gte", "createdAt.lt", "startedAt.gte", "startedAt.lt")
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What an address asks for."""

    form: ExportFormat
    conditions: Sequence[Condition]


async def export_executions(
    format: FormatArgument,  # noqa: A002 - the graph's name, as the next one
    filter: FilterArgument = None,  # noqa: A002
) -> Export:
    """Raises NotFound for what is no id, and Invalid for a moment that is out of range."""
    parameters = [("format", format.value), *map(_written, _conditions(filter))]
    url = f"{EXECUTIONS_PATH}?{urlencode(parameters, safe=',:')}"
    return Export(url, format.media_type, file_name("executions", format, utc_now()))


def asked_executions(parameters: Iterable[tuple[str, str]]) -> Asked:
    """What these parameters of an address ask for; raises NotFound and Invalid."""
    given = given_once(parameters, _PARAMETERS)
    return Asked(format_in(given), _conditions(_filter(given)))


def given_once(parameters: Iterable[tuple[str, str]], known: frozenset[str]) -> Mapping[str, str]:
    """The parameters of an address by their names.

    One that is not known, or is there twice, is Invalid: without it the file would hold more than was asked for.
    """
    given: dict[str, str] = {}
    for name, value in parameters:
        if name not in known:
            raise Invalid.at(f"There is no parameter “{name}”; there are {', '.join(sorted(known))}.", name)
        if name in given:
            raise Invalid.at(f"The parameter “{name}” is there twice.", name)
        given[name] = value
    return given


def _conditions(wanted: ExecutionFilter | None) -> list[Condition]:
    return [storable(condition) for condition in conditions_of(wanted)]


def _written(condition: Condition) -> tuple[str, str]:
    name, value = camel(condition.field), condition.value
    if isinstance(value, UUID):
        return name, node_id(_KINDS[condition.field], value)
    if isinstance(value, datetime):
        return f"{name}.{condition.operator.value.lower()}", value.isoformat().replace("+00:00", "Z")
    return name, ",".join(each.value for each in value)


def format_in(given: Mapping[str, str]) -> ExportFormat:
    """How the file is to be written; raises Invalid."""
    try:
        return ExportFormat(given.get("format", "").upper())
    except ValueError as error:
        raise Invalid.at(f"Give as format one of {_names(ExportFormat)}.", "format") from error


def _filter(given: Mapping[str, str]) -> ExecutionFilter:
    project_id, team_id = given.get("projectId"), given.get("teamId")
    return ExecutionFilter(
        project_id=None if project_id is None else strawberry.ID(project_id),
        team_id=None if team_id is None else strawberry.ID(team_id),
        status=_statuses(given.get("status")),
        created_at=moments_in(given, "createdAt"),
        started_at=moments_in(given, "startedAt"),
    )


def _statuses(text: str | None) -> ExecutionStatusFilter | None:
    """An empty text is an empty list, which no execution meets."""
    if text is None:
        return None
    try:
        return ExecutionStatusFilter(in_=[ExecutionStatus(each) for each in text.split(",") if each])
    except ValueError as error:
        raise Invalid.at(f"Give as status some of {_names(ExecutionStatus)}, comma-separated.", "status") from error


def moments_in(given: Mapping[str, str], name: str) -> MomentFilter:
    """The period that the parameters `name`.gte and `name`.lt bound; raises Invalid."""
    return MomentFilter(gte=_moment(given, f"{name}.gte"), lt=_moment(given, f"{name}.lt"))


def _moment(given: Mapping[str, str], name: str) -> datetime | None:
    """A moment without a zone is one of UTC, as everywhere."""
    text = given.get(name)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)  # an unescaped + is a blank
    except ValueError as error:
        raise Invalid.at(f"Give as {name} a moment like 2026-01-31T12:00:00Z.", name) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _names(kind: type[ExportFormat | ExecutionStatus]) -> str:
    return ", ".join(each.value for each in kind)
