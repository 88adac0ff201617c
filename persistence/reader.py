"""The graph's batched reads: statements built by SQLAlchemy once per shape, run as asyncpg rows.

Entities are slow and these reads are hot: a row becomes a thing of the domain by one constructor call.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, Select, Text, Uuid, bindparam, column, func, select, text, true, tuple_
from sqlalchemy.dialects.postgresql import asyncpg as dialect

from domain.errors import Invalid
from domain.events import ExecutionEvent, cursor_at, event_from, sequence_at
from domain.model.execution import Execution
from domain.model.identity import ExecutionId, TenantId
from domain.model.ledger import Usage
from domain.model.page import Condition, Operator, Page, PageRequest, decode_cursor, encode_cursor
from domain.model.task import Task
from domain.model.tool import Tool
from persistence import tables
from persistence.control_reader import ControlReader
from persistence.errors import reachable
from persistence.generation_reader import GenerationReader
from persistence.mapping import builder_of, columns_of, names_of, remembered, stored
from persistence.model_reader import ModelReader
from persistence.money_reader import MoneyReader
from persistence.optimization_reader import OptimizationReader
from persistence.resources_reader import ResourcesReader
from persistence.template_reader import TemplateReader
from persistence.tool_reader import ToolReader

if TYPE_CHECKING:
    import asyncpg

E = TypeVar("E")

_DIALECT = dialect.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy does not annotate it


@dataclass(frozen=True, slots=True)
class Compiled:
    """SQL text, and the names of its parameters in their order."""

    text: str
    names: tuple[str, ...]

    @classmethod
    def of(cls, statement: Select[Any]) -> "Compiled":
        compiled = statement.compile(dialect=_DIALECT)
        return cls(str(compiled), tuple(compiled.positiontup or ()))

    def arguments(self, values: Mapping[str, Any]) -> list[Any]:
        return [values[name] for name in self.names]


_TENANT = bindparam("tenant_id", type_=Uuid())
_IDS = bindparam("ids", type_=ARRAY(Uuid()))
_LIMIT = bindparam("limit", type_=BigInteger())


class SqlReader(
    MoneyReader,
    ModelReader,
    ControlReader,
    ResourcesReader,
    GenerationReader,
    TemplateReader,
    ToolReader,
    OptimizationReader,
):
    """See `domain.ports.Reader`. Each question takes a connection of its own for one statement.

    All raise Unavailable while the database does not answer.
    """

    async def _fetch(self, statement: Compiled, **values: Any) -> Sequence["asyncpg.Record"]:
        return await self._rows(statement.text, *statement.arguments(values))

    async def _rows(self, statement: str, *arguments: Any) -> Sequence["asyncpg.Record"]:
        with reachable():
            rows: Sequence[asyncpg.Record] = await self.pool.fetch(statement, *arguments)
        return rows

    async def by_ids(self, kind: type[E], tenant_id: TenantId, ids: Sequence[UUID]) -> Mapping[UUID, E]:
        rows = await self._fetch(_by_ids(kind), tenant_id=tenant_id, ids=list(ids))
        build, place = builder_of(kind), names_of(kind).index("id")
        return {row[place]: build(row) for row in rows}

    async def children(
        self,
        kind: type[E],
        tenant_id: TenantId,
        parent: str,
        ids: Sequence[UUID],
        order: Sequence[str],
        limit: int | None = None,
    ) -> Mapping[UUID, Sequence[E]]:
        statement = _children(kind, parent, tuple(order))
        rows = await self._fetch(statement, tenant_id=tenant_id, ids=list(ids), limit=limit)
        build, place = builder_of(kind), names_of(kind).index(parent)
        return _grouped((row[place], build(row)) for row in rows)

    async def pages(
        self, kind: type[E], tenant_id: TenantId, parent: str, ids: Sequence[UUID], request: PageRequest
    ) -> Mapping[UUID, Page[E]]:
        shape = _Shape(
            parent,
            request.order_by,
            request.descending,
            request.after is not None,
            tuple((condition.field, condition.operator) for condition in request.conditions),
        )
        values = {"tenant_id": tenant_id, "ids": list(ids), **condition_values(request.conditions)}
        totals = await self._totals(kind, shape, values) if request.with_total else {}
        rows = await self._fetch(_page(kind, shape), **values, **_position(kind, request), limit=request.first + 1)
        build, width = builder_of(kind), len(names_of(kind))
        found = _grouped((row[width], build(row)) for row in rows)
        return {
            identifier: _page_of(found.get(identifier, []), request, totals.get(identifier, 0)) for identifier in ids
        }

    async def _totals(self, kind: type[Any], shape: "_Shape", values: Mapping[str, Any]) -> Mapping[UUID, int]:
        rows = await self._fetch(_total(kind, shape), **values)
        return {row[0]: row[1] for row in rows}

    async def usage(self, tenant_id: TenantId, by: str, ids: Sequence[UUID]) -> Mapping[UUID, Usage]:
        rows = await self._fetch(_usage(by), tenant_id=tenant_id, ids=list(ids))
        return {row[0]: Usage(*row[1:]) for row in rows}

    async def tools_by_role(
        self, tenant_id: TenantId, ids: Sequence[UUID], limit: int | None = None
    ) -> Mapping[UUID, Sequence[Tool]]:
        rows = await self._fetch(_tools_by_role(), tenant_id=tenant_id, ids=list(ids), limit=limit)
        build, width = builder_of(Tool), len(names_of(Tool))
        return _grouped((row[width], build(row)) for row in rows)

    async def dependencies_by_task(
        self, tenant_id: TenantId, ids: Sequence[UUID], limit: int | None = None
    ) -> Mapping[UUID, Sequence[Task]]:
        rows = await self._fetch(_dependencies_by_task(), tenant_id=tenant_id, ids=list(ids), limit=limit)
        build, width = builder_of(Task), len(names_of(Task))
        return _grouped((row[width], build(row)) for row in rows)

    async def activity_by_team(
        self, tenant_id: TenantId, ids: Sequence[UUID]
    ) -> Mapping[UUID, tuple[bool, datetime | None]]:
        rows = await self._fetch(_activity_by_team(), tenant_id=tenant_id, ids=list(ids))
        return {row[0]: (row[1], row[2]) for row in rows}

    async def events(
        self, tenant_id: TenantId, execution_id: ExecutionId, after: int, limit: int
    ) -> Sequence[ExecutionEvent]:
        rows = await self._rows(_EVENTS, tenant_id, execution_id, after, limit)
        return [_event(row) for row in rows]

    async def event_pages(
        self, tenant_id: TenantId, ids: Sequence[UUID], request: PageRequest
    ) -> Mapping[UUID, Page[ExecutionEvent]]:
        after = _sequence_after(request.after)
        rows = await self._rows(_EVENT_PAGES, tenant_id, list(ids), after, request.first + 1)
        found = _grouped((row["execution_id"], _event(row)) for row in rows)
        totals = await self._event_totals(tenant_id, ids) if request.with_total else {}
        return {
            identifier: _event_page(found.get(identifier, []), request, totals.get(identifier, 0)) for identifier in ids
        }

    async def _event_totals(self, tenant_id: TenantId, ids: Sequence[UUID]) -> Mapping[UUID, int]:
        rows = await self._rows(_EVENT_TOTALS, tenant_id, list(ids))
        return {row[0]: row[1] for row in rows}

    async def activity(
        self, tenant_id: TenantId, project_id: UUID, since: datetime, limit: int
    ) -> Sequence[tuple[Execution, int]]:
        rows = await self._fetch(_activity(), tenant_id=tenant_id, project_id=project_id, since=since, limit=limit)
        build, width = builder_of(Execution), len(names_of(Execution))
        return [(build(row), row[width]) for row in rows]


@dataclass(frozen=True, slots=True)
class _Shape:
    """What of a page request changes the SQL text; the values do not."""

    parent: str
    order_by: str
    descending: bool
    has_position: bool
    conditions: tuple[tuple[str, Operator], ...]


@remembered
def _by_ids(kind: type[Any]) -> Compiled:
    table = tables.TABLES[kind]
    owner = table.c.id if table is tables.tenant else table.c.tenant_id  # a tenant may see itself, and no other
    return Compiled.of(select(*columns_of(kind)).where(owner == _TENANT, table.c.id == func.any(_IDS)))


@remembered
def _children(kind: type[Any], parent: str, order: tuple[str, ...]) -> Compiled:
    table = tables.TABLES[kind]
    conditions = [table.c.tenant_id == _TENANT, table.c[parent] == func.any(_IDS)]
    if "archived_at" in table.c:
        conditions.append(table.c.archived_at.is_(None))
    ordered = select(*columns_of(kind)).where(*conditions).order_by(*(table.c[name] for name in order))
    return Compiled.of(ordered.limit(_LIMIT))


def _parents() -> Any:
    return func.unnest(_IDS).table_valued(column("parent", Uuid()), name="parents").render_derived()


def _matching(kind: type[Any], shape: _Shape, parents: Any) -> list[Any]:
    table = tables.TABLES[kind]
    return [
        table.c.tenant_id == _TENANT,
        table.c[shape.parent] == parents.c.parent,
        *(comparison(table.c[name], operator, index) for index, (name, operator) in enumerate(shape.conditions)),
    ]


@remembered
def _page(kind: type[Any], shape: _Shape) -> Compiled:
    table, parents = tables.TABLES[kind], _parents()
    order, tie = table.c[shape.order_by], table.c.id
    inner = select(*columns_of(kind)).where(*_matching(kind, shape, parents))
    if shape.has_position:
        here, place = tuple_(order, tie), tuple_(bindparam("value", type_=order.type), bindparam("tie", type_=Uuid()))
        inner = inner.where(here < place if shape.descending else here > place)
    directed = (order.desc(), tie.desc()) if shape.descending else (order, tie)
    part = inner.order_by(*directed).limit(bindparam("limit")).lateral("part")
    return Compiled.of(
        select(*(part.c[name] for name in names_of(kind)), parents.c.parent).select_from(parents.join(part, true()))
    )


@remembered
def _total(kind: type[Any], shape: _Shape) -> Compiled:
    parents = _parents()
    counted = select(func.count().label("total")).where(*_matching(kind, shape, parents)).lateral("counted")
    return Compiled.of(select(parents.c.parent, counted.c.total).select_from(parents.join(counted, true())))


def comparison(field: Any, operator: Operator, index: int) -> Any:
    """The condition in SQL; its value is bound under its place among all conditions, see `condition_values`."""
    name = f"condition_{index}"
    match operator:
        case Operator.EQ:
            return field == bindparam(name, type_=field.type)
        case Operator.IN:
            return field == func.any(bindparam(name, type_=ARRAY(field.type)))
        case Operator.GTE:
            return field >= bindparam(name, type_=field.type)
        case Operator.LT:
            return field < bindparam(name, type_=field.type)
        case Operator.CONTAINS:
            return func.strpos(func.lower(field), func.lower(bindparam(name, type_=Text()))) > text("0")
        case Operator.IS_NULL:
            return field.is_(None) == bindparam(name)


def condition_values(conditions: Sequence[Condition]) -> dict[str, Any]:
    """What the statements of `comparison` are given."""
    values = {}
    for index, condition in enumerate(conditions):
        many = isinstance(condition.value, list | tuple)
        values[f"condition_{index}"] = [stored(value) for value in condition.value] if many else stored(condition.value)
    return values


def _position(kind: type[Any], request: PageRequest) -> dict[str, Any]:
    if request.after is None:
        return {}
    value, tie = decode_cursor(request.after, request.order_by)
    is_moment = tables.TABLES[kind].c[request.order_by].type.python_type is datetime
    try:
        return {"value": _moment(value) if is_moment else _text(value), "tie": UUID(tie)}
    except (ValueError, OverflowError) as error:
        raise Invalid.at("This is no cursor of this list.", "after") from error


def _moment(value: str) -> datetime:
    return datetime.fromisoformat(value).astimezone(UTC)


def _text(value: str) -> str:
    if "\x00" in value:
        raise ValueError(value)
    return value


def _page_of(found: Sequence[Any], request: PageRequest, total: int) -> Page[Any]:
    items = found[: request.first]
    return Page(
        items,
        [_cursor(item, request.order_by) for item in items],
        has_next=len(found) > request.first,
        has_previous=request.after is not None,
        total=total if request.with_total else None,
    )


def _cursor(item: Any, order_by: str) -> str:
    value = getattr(item, order_by)
    return encode_cursor(order_by, value.isoformat() if isinstance(value, datetime) else value, str(item.id))


def _grouped(pairs: Any) -> dict[UUID, list[Any]]:
    groups: dict[UUID, list[Any]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return groups


@remembered
def _usage(by: str) -> Compiled:
    table = tables.ledger_entry
    counts = ("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens")
    sums = (func.sum(table.c[name]).cast(BigInteger) for name in counts)
    return Compiled.of(
        select(table.c[by], func.count(), *sums, func.sum(table.c.cost))
        .where(table.c.tenant_id == _TENANT, table.c[by] == func.any(_IDS))
        .group_by(table.c[by])
    )


@remembered
def _tools_by_role() -> Compiled:
    tool, link = tables.tool, tables.role_tool
    return Compiled.of(
        select(*columns_of(Tool), link.c.role_id)
        .join(link, (link.c.tenant_id == tool.c.tenant_id) & (link.c.tool_id == tool.c.id))
        .where(tool.c.tenant_id == _TENANT, link.c.role_id == func.any(_IDS), tool.c.archived_at.is_(None))
        .order_by(tool.c.id)
        .limit(_LIMIT)
    )


@remembered
def _dependencies_by_task() -> Compiled:
    task, link = tables.task, tables.task_dependency
    return Compiled.of(
        select(*columns_of(Task), link.c.task_id)
        .join(link, (link.c.tenant_id == task.c.tenant_id) & (link.c.depends_on_id == task.c.id))
        .where(task.c.tenant_id == _TENANT, link.c.task_id == func.any(_IDS), task.c.archived_at.is_(None))
        .order_by(task.c.position, task.c.id)
        .limit(_LIMIT)
    )


@remembered
def _activity_by_team() -> Compiled:
    table, parents = tables.execution, _parents()
    here = (table.c.tenant_id == _TENANT, table.c.team_id == parents.c.parent)
    busy = select(table.c.id).where(*here, text("execution.status IN ('RUNNING', 'CANCELLING')")).exists()
    last = select(func.max(table.c.created_at)).where(*here).scalar_subquery()
    return Compiled.of(select(parents.c.parent, busy.label("is_busy"), last.label("last")).select_from(parents))


@remembered
def _activity() -> Compiled:
    table, row = tables.execution, tables.execution_sequence
    since = bindparam("since", type_=tables.Moment)
    return Compiled.of(
        select(*columns_of(Execution), row.c.last_sequence)
        .join(row, (row.c.tenant_id == table.c.tenant_id) & (row.c.execution_id == table.c.id))
        .where(
            table.c.tenant_id == _TENANT,
            table.c.project_id == bindparam("project_id", type_=Uuid()),
            table.c.finished_at.is_(None) | (table.c.finished_at >= since),
        )
        .order_by(table.c.finished_at.desc().nulls_last(), table.c.created_at.desc(), table.c.id.desc())
        .limit(_LIMIT)
    )


_EVENT_COLUMNS = "tenant_id, execution_id, sequence, occurred_at, type, task_execution_id, role_id, payload"
_EVENTS = (
    f"SELECT {_EVENT_COLUMNS} FROM execution_event"  # noqa: S608 - constants only
    " WHERE tenant_id = $1 AND execution_id = $2 AND sequence > $3 ORDER BY sequence LIMIT $4"
)
_EVENT_PAGES = (
    "SELECT part.* FROM unnest($2::uuid[]) AS parents(parent) CROSS JOIN LATERAL ("  # noqa: S608 - constants only
    f"SELECT {_EVENT_COLUMNS} FROM execution_event"
    " WHERE tenant_id = $1 AND execution_id = parent AND sequence > $3 ORDER BY sequence LIMIT $4) AS part"
)

# Sequences have no gaps: the last one is the count. Of what is archived, they are removed from the last one back.
_EVENT_TOTALS = """
    SELECT row.execution_id, CASE WHEN execution.archived_at IS NULL THEN row.last_sequence ELSE (
        SELECT coalesce(max(sequence), 0) FROM execution_event AS event
        WHERE event.tenant_id = row.tenant_id AND event.execution_id = row.execution_id
    ) END
    FROM execution_sequence AS row
    JOIN execution ON execution.tenant_id = row.tenant_id AND execution.id = row.execution_id
    WHERE row.tenant_id = $1 AND row.execution_id = ANY($2::uuid[])
"""


def _event(row: "asyncpg.Record") -> ExecutionEvent:
    envelope = dict(row.items())
    return event_from(envelope.pop("type"), envelope, envelope.pop("payload"))


def _sequence_after(cursor: str | None) -> int:
    try:
        return sequence_at(cursor)
    except ValueError as error:
        raise Invalid.at("This is no cursor of an event stream.", "after") from error


def _event_page(found: Sequence[ExecutionEvent], request: PageRequest, total: int) -> Page[ExecutionEvent]:
    items = found[: request.first]
    return Page(
        items,
        [cursor_at(event.sequence) for event in items],
        has_next=len(found) > request.first,
        has_previous=request.after is not None,
        total=total if request.with_total else None,
    )
