"""How a field of the graph is supplied, declared rather than coded.

`loaded_by` and `paged_by` name an access path and a key; `usage_by` and `asked_by` a path whose answer depends on
arguments too; `derived_from` a path and several keys; `computed` names a function of the parent. The breadth-first
executor reads these declarations from the field's metadata and answers a whole level at once; the ordinary executor
calls the resolver made here, one by one.
"""

import inspect
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter
from typing import Annotated, Any, Final
from uuid import UUID

import strawberry
from graphql import FieldNode, FragmentDefinitionNode, FragmentSpreadNode, GraphQLResolveInfo, SelectionSetNode

from domain.errors import Invalid, NotFound
from domain.model.page import DEFAULT_PAGE_SIZE, Condition, Operator, PageRequest
from resolvers.context import Info
from resolvers.filters import Direction, MomentFilter, conditions_of
from resolvers.loaders import AccessPath, Period
from resolvers.node_ids import uuid_of

EDGE = "regatta.edge"


@dataclass(frozen=True, slots=True)
class Loaded:
    """One key of the parent, one answer; or one attribute of the answer."""

    path: AccessPath
    key: str
    attribute: str | None = None


@dataclass(frozen=True, slots=True)
class Paged:
    """A page of a list; `hides_archived` says whether archived things are left out without a filter."""

    path: AccessPath
    key: str
    hides_archived: bool
    order_by: str = "created_at"
    descending: bool = True

    def request(self, arguments: dict[str, Any], *, with_total: bool) -> PageRequest:
        """The page that the arguments of the field ask for; raises Invalid."""
        order = arguments.get("order_by")
        return PageRequest(
            first=arguments.get("first", DEFAULT_PAGE_SIZE),
            after=arguments.get("after"),
            conditions=self._conditions(arguments.get("filter")),
            order_by=order.field.value if order else self.order_by,
            descending=order.direction is Direction.DESC if order else self.descending,
            with_total=with_total,
        )

    def _conditions(self, wanted: Any) -> tuple[Condition, ...]:
        if wanted is None and self.hides_archived:
            return (Condition("archived_at", Operator.IS_NULL, value=True),)
        return tuple(storable(condition) for condition in conditions_of(wanted))


def storable(condition: Condition) -> Condition:
    """The condition as a database can compare it: a moment without a zone is taken as UTC. Raises Invalid."""
    value = condition.value
    if isinstance(value, str) and "\x00" in value:
        raise Invalid.at("The character U+0000 is not allowed.", "filter")
    if isinstance(value, datetime):
        return Condition(condition.field, condition.operator, in_utc(value, "filter"))
    return condition


def in_utc(moment: datetime, *path: str) -> datetime:
    """The moment in UTC, as which one without a zone is taken; raises Invalid."""
    try:
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except OverflowError as error:
        raise Invalid.at("This moment is out of range.", *path) from error


@dataclass(frozen=True, slots=True)
class Asked:
    """One key of the parent and what is made of the arguments, one answer."""

    path: AccessPath
    key: str
    request_of: Callable[[dict[str, Any]], Hashable]
    """What the arguments ask for; raises Invalid."""


@dataclass(frozen=True, slots=True)
class Derived:
    """A function of what the path finds by several keys of the parent, which fields that ask for the same share."""

    path: AccessPath
    keys: tuple[str, ...]
    function: Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Computed:
    """A function of the parent alone: no I/O."""

    function: Callable[[Any], Any]


def computed(function: Callable[[Any], Any], description: str, **options: Any) -> Any:
    """A field that follows from the parent."""

    def resolve(root: strawberry.Parent[Any]) -> Any:
        return function(root)

    return strawberry.field(resolver=resolve, description=description, metadata={EDGE: Computed(function)}, **options)


def loaded_by(path: AccessPath, description: str, *, key: str = "id", attribute: str | None = None) -> Any:
    """A field whose value the path finds by the parent's `key`, or an attribute of what it finds."""

    async def resolve(root: strawberry.Parent[Any], info: Info) -> Any:
        wanted = getattr(root, key)
        if wanted is None:
            return None
        found = await info.context.load(path, wanted)
        return found if attribute is None else getattr(found, attribute)

    return strawberry.field(resolver=resolve, description=description, metadata={EDGE: Loaded(path, key, attribute)})


def derived_from(path: AccessPath, keys: Sequence[str], function: Callable[..., Any], description: str) -> Any:
    """A field that follows from what the path finds by each of these keys of the parent."""

    async def resolve(root: strawberry.Parent[Any], info: Info) -> Any:
        return function(*[await info.context.load(path, getattr(root, key)) for key in keys])

    edge = Derived(path, tuple(keys), function)
    return strawberry.field(resolver=resolve, description=description, metadata={EDGE: edge})


def asked_by(
    path: AccessPath,
    key: str,
    request_of: Callable[[dict[str, Any]], Hashable],
    arguments: Sequence[inspect.Parameter],
    description: str,
) -> Any:
    """What the path finds by the parent's `key` and what is made of the field's arguments."""
    edge = Asked(path, key, request_of)

    async def resolve(root: Any, info: Any, **given: Any) -> Any:
        return await info.context.load(path, (getattr(root, key), request_of(given)))

    return strawberry.field(resolver=_with(resolve, arguments), description=description, metadata={EDGE: edge})


def usage_by(path: AccessPath, description: str) -> Any:
    """The usage that the path finds by the parent's id, within the `period` that is asked for."""
    edge = Asked(path, "id", period_of)

    async def resolve(root: Any, info: Any, **arguments: Any) -> Any:
        return await info.context.load(path, (getattr(root, edge.key), edge.request_of(arguments)))

    annotation: Any = Annotated[MomentFilter | None, _PERIOD]
    period = inspect.Parameter("period", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
    return strawberry.field(resolver=_with(resolve, [period]), description=description, metadata={EDGE: edge})


def counted_by(path: AccessPath, key: str, description: str, *, default: int, most: int) -> Any:
    """A list of so many items as the argument `count` asks for, which the path finds by the parent's `key`."""

    def count_of(arguments: dict[str, Any]) -> int:
        count: int = arguments.get("count", default)
        if not 1 <= count <= most:
            raise Invalid.at(f"Must be between 1 and {most}.", "count")
        return count

    edge = Asked(path, key, count_of)

    async def resolve(root: Any, info: Any, **arguments: Any) -> Any:
        return await info.context.load(path, (getattr(root, key), edge.request_of(arguments)))

    annotation: Any = Annotated[int, strawberry.argument(description=f"How many, 1 to {most}.")]
    count = inspect.Parameter("count", inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
    return strawberry.field(resolver=_with(resolve, [count]), description=description, metadata={EDGE: edge})


def numbered_by(path: AccessPath, description: str, *, key: str = "id") -> Any:
    """The one that the path finds by the parent's `key` and the argument `number`; null for none."""
    edge = Asked(path, key, itemgetter("number"))

    async def resolve(root: Any, info: Any, **arguments: Any) -> Any:
        return await info.context.load(path, (getattr(root, key), edge.request_of(arguments)))

    annotation: Any = Annotated[int, strawberry.argument(description="Which one, from 1.")]
    number = inspect.Parameter("number", inspect.Parameter.KEYWORD_ONLY, annotation=annotation)
    return strawberry.field(resolver=_with(resolve, [number]), description=description, metadata={EDGE: edge})


def period_of(arguments: dict[str, Any]) -> Period:
    """The period that the argument `period` asks for, everything without it; raises Invalid."""
    wanted = arguments.get("period")
    if wanted is None:
        return Period()
    since, until = (
        None if moment is None else in_utc(moment, "period", name)
        for name, moment in (("gte", wanted.gte), ("lt", wanted.lt))
    )
    return Period(since, until)


_NEWEST_FIRST: Final = "In this order; newest first by default."


def paged_by(
    path: AccessPath,
    description: str,
    *,
    key: str = "id",
    filter_type: Any = None,
    order_type: Any = None,
    hides_archived: bool = False,
    order_by: str = "created_at",
    descending: bool = True,
    order_text: str = _NEWEST_FIRST,
) -> Any:
    """A connection whose page the path finds by the parent's `key`, newest first by `order_by`."""
    edge = Paged(path, key, hides_archived, order_by, descending)

    async def resolve(root: Any, info: Any, **arguments: Any) -> Any:
        request = edge.request(arguments, with_total=asks_for(info._raw_info, "totalCount"))  # noqa: SLF001 - the AST
        info.context.budget.promise(request.first)
        return await info.context.load(path, (getattr(root, key), request))

    return strawberry.field(
        resolver=with_page_arguments(resolve, filter_type, order_type, order_text),
        description=description,
        metadata={EDGE: edge},
    )


def with_page_arguments(resolve: Any, filter_type: Any, order_type: Any, order_text: str = _NEWEST_FIRST) -> Any:
    """The resolver under the signature of a connection: `first`, `after`, and filter and order where there are."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    arguments = [
        inspect.Parameter("first", keyword, default=DEFAULT_PAGE_SIZE, annotation=Annotated[int, _FIRST]),
        inspect.Parameter("after", keyword, default=None, annotation=Annotated[str | None, _AFTER]),
    ]
    if filter_type is not None:
        annotation: Any = Annotated[filter_type | None, _FILTER]
        arguments.append(inspect.Parameter("filter", keyword, default=None, annotation=annotation))
    if order_type is not None:
        annotation = Annotated[order_type | None, strawberry.argument(description=order_text)]
        arguments.append(inspect.Parameter("order_by", keyword, default=None, annotation=annotation))
    return _with(resolve, arguments)


def _with(resolve: Any, arguments: Sequence[inspect.Parameter]) -> Any:
    """The resolver under a signature of the parent, the context and these arguments."""
    positional = inspect.Parameter.POSITIONAL_OR_KEYWORD
    reserved = [
        inspect.Parameter("root", positional, annotation=_PARENT),
        inspect.Parameter("info", positional, annotation=Info),
    ]
    resolve.__signature__ = inspect.Signature([*reserved, *arguments])
    return resolve


_PARENT: Any = strawberry.Parent[object]
_FIRST = strawberry.argument(description="How many, 1 to 100.")
_AFTER = strawberry.argument(description="Go on behind this cursor.")
_FILTER = strawberry.argument(description="Only those that meet all of these conditions.")
_PERIOD = strawberry.argument(description="Only what was booked in it; everything without one.")


def asks_for(info: GraphQLResolveInfo[Any], name: str) -> bool:
    """Whether the field's own selection has a field of this name, fragments included."""
    return any(selects(node.selection_set, name, info.fragments) for node in info.field_nodes)


def selects(selections: SelectionSetNode | None, name: str, fragments: Mapping[str, FragmentDefinitionNode]) -> bool:
    """Whether a selection has a field of this name; valid documents have no cycle of fragments."""
    for node in selections.selections if selections else ():
        if isinstance(node, FieldNode):
            if node.name.value == name:
                return True
        elif isinstance(node, FragmentSpreadNode):
            if selects(fragments[node.name.value].selection_set, name, fragments):
                return True
        elif selects(node.selection_set, name, fragments):  # type: ignore[attr-defined]  # an inline fragment
            return True
    return False


async def existing(info: Info, path: AccessPath, kind: str, identifier: str | None, argument: str) -> UUID | None:
    """The thing that an argument names, None where it names none. Raises NotFound."""
    if identifier is None:
        return None
    found = uuid_of(kind, identifier, argument)
    if await info.context.load(path, found) is None:
        raise NotFound(kind, identifier).under(argument)
    return found
