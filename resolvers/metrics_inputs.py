"""The inputs of metrics, and their translation into the domain's words."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import strawberry

from domain.errors import Invalid
from domain.model.identity import utc_now
from domain.model.metrics import HOURS_KEPT_DAYS, WHOLE_TENANT, Dimension, Granularity, MetricsScope, Period
from domain.model.team import Process
from domain.model.texts import camel
from resolvers.edges import in_utc
from resolvers.inputs import described
from resolvers.node_ids import uuid_of

DEFAULT_DAYS: Final = 30

_NEVER_STORED: Final = re.compile(r"[\x00\ud800-\udfff]")

_BY_ID: Final[Mapping[str, Dimension]] = {
    "project_id": Dimension.PROJECT,
    "team_id": Dimension.TEAM,
    "role_id": Dimension.ROLE,
    "task_id": Dimension.TASK,
    "template_id": Dimension.TEMPLATE,
}

_BY_NAME: Final[Mapping[str, Dimension]] = {
    "model": Dimension.MODEL,
    "tool": Dimension.TOOL,
    "strategy": Dimension.STRATEGY,
    "domain": Dimension.DOMAIN,
}

KINDS: Final[Mapping[Dimension, str]] = {
    Dimension.PROJECT: "Project",
    Dimension.TEAM: "Team",
    Dimension.ROLE: "Role",
    Dimension.TASK: "Task",
    Dimension.TEMPLATE: "Template",
}
"""What the keys of a dimension are ids of; those of other dimensions are names."""


@strawberry.input(description="Where to look: a project or a team, not both.")
class MetricsWithinInput:
    project_id: strawberry.ID | None = described("What happened in this project.")
    team_id: strawberry.ID | None = described("What this team did.")


@strawberry.input(description="Whose metrics; one of these at most, and none for the whole tenant.")
class MetricsScopeInput:
    project_id: strawberry.ID | None = described("Those of a project.")
    team_id: strawberry.ID | None = described("Those of a team.")
    role_id: strawberry.ID | None = described("Those of a role: its tasks, model calls and tool calls.")
    task_id: strawberry.ID | None = described("Those of a task: its task executions, model calls and tool calls.")
    template_id: strawberry.ID | None = described("Those of the teams that were made from a template.")
    model: str | None = described("Those of a model, by its name, like “openai/gpt-4o”.")
    tool: str | None = described("Those of a tool, by the name that roles call it by.")
    strategy: Process | None = described("Those of what was run by a process.")
    domain: str | None = described("Those of the teams that were made from templates of a domain, like “marketing”.")
    within: MetricsWithinInput | None = described(
        "Only what happened there; for a model, tool, strategy or domain. Everywhere without it."
    )


@strawberry.input(
    description="A period in whole parts of its granularity; the last 30 days (UTC), today included, without any of it."
)
class MetricsPeriodInput:
    from_: datetime | None = strawberry.field(
        name="from",
        description="The part in which this moment lies is the first one; 30 days up to `to` without it. UTC unless"
        " it says otherwise.",
        default=strawberry.UNSET,
    )
    to: datetime | None = described("The last part is the one that ends at or after this moment; now without it.")
    granularity: Granularity | None = described("How long the parts are; DAY by default.")


# ---------------------------------------------------------------- scopes


def scope_from(wanted: MetricsScopeInput | None) -> MetricsScope:
    """Whose metrics are asked for; raises Invalid, and NotFound for what is no id of its kind."""
    if not wanted:
        return WHOLE_TENANT
    named = [name for name in (*_BY_ID, *_BY_NAME) if _is_given(getattr(wanted, name))]
    if len(named) > 1:
        raise Invalid.at("Give one of these at most.", "scope", camel(named[1]))
    if wanted.within and not set(named) & set(_BY_NAME):
        raise Invalid.at("This goes with a model, tool, strategy or domain.", "scope", "within")
    return _chosen(wanted, named[0]) if named else WHOLE_TENANT


def _is_given(value: Any) -> bool:
    """Whether the caller gave it, were it an empty text: that must not mean everything."""
    return value is not None and value is not strawberry.UNSET


def _chosen(wanted: MetricsScopeInput, name: str) -> MetricsScope:
    value = getattr(wanted, name)
    if name in _BY_ID:
        return _by_id(_BY_ID[name], value, "scope", camel(name))
    key = value.value if isinstance(value, Process) else _storable(value, "scope", name)
    return MetricsScope(_BY_NAME[name], key, _within(wanted.within))


def _by_id(dimension: Dimension, identifier: str, *path: str) -> MetricsScope:
    return MetricsScope(dimension, str(uuid_of(KINDS[dimension], identifier, *path)))


def _within(wanted: MetricsWithinInput | None) -> MetricsScope | None:
    if not wanted:
        return None
    if _is_given(wanted.project_id) == _is_given(wanted.team_id):
        raise Invalid.at("Give either a project or a team.", "scope", "within")
    if _is_given(wanted.project_id):
        return _by_id(Dimension.PROJECT, wanted.project_id or "", "scope", "within", "projectId")
    return _by_id(Dimension.TEAM, wanted.team_id or "", "scope", "within", "teamId")


def _storable(name: str, *path: str) -> str:
    """A name as a database can look for it; raises Invalid."""
    if _NEVER_STORED.search(name):
        raise Invalid.at("No name has the character U+0000, or half a surrogate pair.", *path)
    return name


# ---------------------------------------------------------------- periods


def period_of(arguments: Mapping[str, Any]) -> Period:
    """The period that the argument `period` asks for; raises Invalid."""
    return period_from(arguments.get("period"))


def period_from(wanted: MetricsPeriodInput | None, now: datetime | None = None) -> Period:
    """The whole parts that are asked for; raises Invalid, also where there is no time for as many before them."""
    if not wanted:
        wanted = MetricsPeriodInput()
    granularity = wanted.granularity or Granularity.DAY
    try:
        end = in_utc(wanted.to, "period", "to") if wanted.to else now or utc_now()
        start = in_utc(wanted.from_, "period", "from") if wanted.from_ else _default_start(end)
        period = _covering(start, end, granularity)
        _check_kept(period, now or utc_now())
    except OverflowError as error:
        raise Invalid.at("This moment is out of range.", "period") from error
    return period


def _check_kept(period: Period, now: datetime) -> None:
    """The period before has to be in range, too, and by the hour figures are not kept for ever."""
    before = period.preceding
    if period.granularity is Granularity.HOUR and before.start < now - timedelta(days=HOURS_KEPT_DAYS - 2):
        days = HOURS_KEPT_DAYS - 2
        message = f"By the hour, figures and those of the period before are kept for {days} days: choose DAY."
        raise Invalid.at(message, "period", "granularity")


def _default_start(end: datetime) -> datetime:
    """The first of so many days of UTC, the last of which is that of the end."""
    last = (end - timedelta(microseconds=1)).astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return last - timedelta(days=DEFAULT_DAYS - 1)


def _covering(start: datetime, end: datetime, granularity: Granularity) -> Period:
    try:
        return Period.covering(start, end, granularity)
    except Invalid as error:
        [problem] = error.problems
        raise Invalid.at(problem.message, "period", *problem.path) from error
