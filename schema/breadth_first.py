"""Runs a query level by level: every edge is asked once for all parents of its level.

The ordinary executor walks one object at a time, and spends most of a large answer's time in doing so. Here a
level is a list of parents, a field is a column over it, and a declared edge (`resolvers.edges`) is one
question. What this executor is not made for (an error, a null where none may be, introspection) it gives up on by
raising `NotSimple`: a query has no side effects, so the ordinary executor runs it again from the start.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLAbstractType,
    GraphQLField,
    GraphQLIncludeDirective,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLSchema,
    GraphQLSkipDirective,
    GraphQLUnionType,
    OperationDefinitionNode,
    SelectionSetNode,
)
from graphql.execution.values import VariableValues, get_argument_values, get_directive_values
from graphql.pyutils import Path, is_awaitable
from strawberry.schema.config import StrawberryConfig
from strawberry.types.arguments import convert_arguments
from strawberry.types.field import StrawberryField

from resolvers.budget import MAX_OBJECTS, TooLarge
from resolvers.context import Context
from resolvers.edges import EDGE, Asked, Computed, Derived, Loaded, Paged, selects

MAX_VALUES = 1_000_000
"""The most values in one answer: a few objects can be asked for the same field under many aliases."""


class NotSimple(Exception):
    """This executor does not know how to do it; the ordinary one does."""


@dataclass(frozen=True, slots=True)
class Supply:
    """How the values of a field come about."""

    edge: Asked | Computed | Derived | Loaded | Paged | None
    attribute: Callable[[Any], Any] | None
    source: StrawberryField


class BreadthFirst:
    """Runs queries against one schema; remembers how each field is supplied."""

    def __init__(self, schema: GraphQLSchema, scalars: Mapping[object, Any], config: StrawberryConfig) -> None:
        self.schema = schema
        self.scalars = scalars
        self.config = config
        self._supplies: dict[tuple[str, str], Supply] = {}
        self._concrete: dict[tuple[str, type[Any]], GraphQLObjectType] = {}

    async def run(
        self,
        operation: OperationDefinitionNode,
        fragments: dict[str, FragmentDefinitionNode],
        variables: VariableValues,
        context: Context,
    ) -> dict[str, Any]:
        """The data of a query. Raises NotSimple, TooLarge, and whatever resolvers raise."""
        root = self.schema.query_type
        if root is None:
            raise NotSimple
        run = _Run(self, operation, fragments, variables, context)
        return (await run.objects(root, [operation.selection_set], [None]))[0]

    def supply(self, parent: GraphQLObjectType, name: str, definition: GraphQLField) -> Supply:
        """How the field gets its values, found out once."""
        found = self._supplies.get((parent.name, name))
        if found is None:
            found = self._supplies[parent.name, name] = _supply_of(definition)
        return found

    def concrete(self, abstract: GraphQLAbstractType, thing: Any) -> GraphQLObjectType:
        """The object type of a thing behind an interface or union, by the class of the thing."""
        key = (abstract.name, type(thing))
        if key not in self._concrete:
            for candidate in self.schema.get_possible_types(abstract):
                if candidate.is_type_of and candidate.is_type_of(thing, None):  # type: ignore[arg-type]  # looks at the class alone
                    self._concrete[key] = candidate
                    break
            else:
                raise NotSimple
        return self._concrete[key]


def _supply_of(definition: GraphQLField) -> Supply:
    source = definition.extensions.get("strawberry-definition")
    if not isinstance(source, StrawberryField):
        raise NotSimple
    metadata: Mapping[Any, Any] = source.metadata or {}
    edge = metadata.get(EDGE)
    is_plain = edge is None and source.base_resolver is None
    return Supply(edge, attrgetter(source.python_name) if is_plain else None, source)


@dataclass(slots=True)
class _Run:
    """One execution of one query."""

    executor: BreadthFirst
    operation: OperationDefinitionNode
    fragments: dict[str, FragmentDefinitionNode]
    variables: VariableValues
    context: Context
    objects_made: int = 0
    values_made: int = 0
    _asked_already: dict[tuple[Any, tuple[Any, ...]], "asyncio.Future[Any]"] = field(default_factory=dict)
    _selections: dict[tuple[str, tuple[int, ...]], dict[str, list[FieldNode]]] = field(default_factory=dict)

    async def objects(
        self, kind: GraphQLObjectType, selections: Sequence[SelectionSetNode], parents: Sequence[Any]
    ) -> list[dict[str, Any]]:
        """The selected fields of all parents, which are of this type."""
        self._check_size(len(parents))
        self.objects_made += len(parents)
        fields = self._fields(kind, selections)
        self.values_made += len(parents) * len(fields)
        if self.values_made > MAX_VALUES:
            raise TooLarge
        columns: list[Any] = [self._column(kind, nodes, parents) for nodes in fields.values()]
        waiting = [index for index, column in enumerate(columns) if not isinstance(column, list)]
        for index, column in zip(waiting, await self._together([columns[index] for index in waiting]), strict=True):
            columns[index] = column
        names = tuple(fields)
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]

    def _check_size(self, more: int) -> None:
        """Refuse before the next step makes so many more objects."""
        if self.objects_made + more > MAX_OBJECTS:
            raise TooLarge

    def _fields(self, kind: GraphQLObjectType, selections: Sequence[SelectionSetNode]) -> dict[str, list[FieldNode]]:
        key = (kind.name, tuple(map(id, selections)))
        if key not in self._selections:
            found: dict[str, list[FieldNode]] = {}
            for selection in selections:
                self._collect(kind, selection, found, set())
            self._selections[key] = found
        return self._selections[key]

    def _collect(
        self, kind: GraphQLObjectType, selection: SelectionSetNode, found: dict[str, list[FieldNode]], seen: set[str]
    ) -> None:
        """Fields by their key in the answer; fragments and directives are dealt with here."""
        for node in selection.selections:
            if not self._is_included(node):
                continue
            if isinstance(node, FieldNode):
                found.setdefault(node.alias.value if node.alias else node.name.value, []).append(node)
            elif isinstance(node, FragmentSpreadNode):
                if node.name.value not in seen:
                    seen.add(node.name.value)
                    self._collect_fragment(kind, self.fragments[node.name.value], found, seen)
            else:
                self._collect_fragment(kind, node, found, seen)

    def _collect_fragment(
        self, kind: GraphQLObjectType, fragment: Any, found: dict[str, list[FieldNode]], seen: set[str]
    ) -> None:
        condition = fragment.type_condition.name.value if fragment.type_condition else kind.name
        abstract = self.executor.schema.get_type(condition)
        fits = condition == kind.name or (
            isinstance(abstract, GraphQLInterfaceType | GraphQLUnionType)
            and self.executor.schema.is_sub_type(abstract, kind)
        )
        if fits:
            self._collect(kind, fragment.selection_set, found, seen)

    def _is_included(self, node: Any) -> bool:
        if not node.directives:
            return True
        skip = get_directive_values(GraphQLSkipDirective, node, self.variables)
        include = get_directive_values(GraphQLIncludeDirective, node, self.variables)
        return not (skip and skip["if_"]) and (include is None or include["if_"])

    def _column(
        self, kind: GraphQLObjectType, nodes: list[FieldNode], parents: Sequence[Any]
    ) -> list[Any] | Awaitable[list[Any]]:
        """The field's value for each parent: at once where nothing has to be waited for."""
        name = nodes[0].name.value
        if name == "__typename":
            return [kind.name] * len(parents)
        definition = kind.fields.get(name)
        if definition is None:
            raise NotSimple
        supply = self.executor.supply(kind, name, definition)
        selections = [node.selection_set for node in nodes if node.selection_set]
        if isinstance(supply.edge, Computed):
            values = list(map(supply.edge.function, parents))
        elif supply.attribute is not None:
            values = list(map(supply.attribute, parents))
        else:
            return self._asked(kind, definition, supply, nodes, parents)
        return self._completed(definition.type, selections, values)

    async def _asked(
        self,
        kind: GraphQLObjectType,
        definition: GraphQLField,
        supply: Supply,
        nodes: list[FieldNode],
        parents: Sequence[Any],
    ) -> list[Any]:
        arguments = self._arguments(definition, supply.source, nodes[0])
        selections = [node.selection_set for node in nodes if node.selection_set]
        values = await self._values(kind, definition, supply, nodes, parents, arguments)
        completed = self._completed(definition.type, selections, values)
        return completed if isinstance(completed, list) else await completed

    async def _values(
        self,
        kind: GraphQLObjectType,
        definition: GraphQLField,
        supply: Supply,
        nodes: list[FieldNode],
        parents: Sequence[Any],
        arguments: dict[str, Any],
    ) -> list[Any]:
        match supply.edge:
            case Loaded(path, key, attribute):
                found = await self._fetched(path, [getattr(parent, key) for parent in parents])
                return found if attribute is None else [getattr(thing, attribute) for thing in found]
            case Asked(path, key, request_of):
                wanted = request_of(arguments)
                return await self._fetched(path, [(getattr(parent, key), wanted) for parent in parents])
            case Derived(path, keys, function):
                columns = [self._fetched(path, [getattr(parent, key) for parent in parents]) for key in keys]
                return list(map(function, *await self._together(columns)))
            case Paged() as edge:
                request = edge.request(arguments, with_total=self._selects_total(nodes))
                self.context.budget.promise(len(parents) * request.first)
                return await self._fetched(edge.path, [(getattr(parent, edge.key), request) for parent in parents])
            case _:
                return await self._resolved(kind, definition, nodes, parents)

    async def _fetched(self, path: Any, keys: list[Any]) -> list[Any]:
        """One question for the whole level, each key once; two fields that ask the same share the answer."""
        unique = tuple(dict.fromkeys(keys))
        if not unique:
            return []
        asked = self._asked_already.get((path, unique))
        if asked is None:
            asked = self._asked_already[path, unique] = self.context.start(self.context.fetch(path, unique))
        found = dict(zip(unique, await asked, strict=True))
        return [found[key] for key in keys]

    def _selects_total(self, nodes: list[FieldNode]) -> bool:
        return any(selects(node.selection_set, "totalCount", self.fragments) for node in nodes)

    async def _resolved(
        self, kind: GraphQLObjectType, definition: GraphQLField, nodes: list[FieldNode], parents: Sequence[Any]
    ) -> list[Any]:
        """Fields with a resolver of their own, asked parent by parent; data loaders gather what they ask."""
        resolve = definition.resolve
        if resolve is None:
            raise NotSimple
        info = self._info(kind, definition, nodes)
        arguments = get_argument_values(definition, nodes[0], self.variables)
        found = [resolve(parent, info, **arguments) for parent in parents]
        if any(map(is_awaitable, found)):
            return await self._together(found)
        return found

    def _arguments(self, definition: GraphQLField, source: StrawberryField, node: FieldNode) -> dict[str, Any]:
        values = get_argument_values(definition, node, self.variables)
        return convert_arguments(values, source.arguments, self.executor.scalars, self.executor.config)

    def _info(
        self, kind: GraphQLObjectType, definition: GraphQLField, nodes: list[FieldNode]
    ) -> GraphQLResolveInfo[Any]:
        name = nodes[0].name.value
        return GraphQLResolveInfo(
            field_name=name,
            field_nodes=nodes,
            return_type=definition.type,
            parent_type=kind,
            path=Path(None, name, kind.name),
            schema=self.executor.schema,
            fragments=self.fragments,
            root_value=None,
            operation=self.operation,
            variable_values=self.variables,
            context=self.context,
            is_awaitable=is_awaitable,
            abort_signal=None,
            async_helpers=None,  # type: ignore[arg-type]  # ours ask for none
        )

    def _completed(
        self, kind: Any, selections: Sequence[SelectionSetNode], values: list[Any]
    ) -> list[Any] | Awaitable[list[Any]]:
        """The values as they stand in the answer. Leaves stay as they are: the encoder knows their forms."""
        is_required = isinstance(kind, GraphQLNonNull)
        kind = kind.of_type if is_required else kind
        if is_required and any(value is None for value in values):
            raise NotSimple
        if isinstance(kind, GraphQLList):
            return self._lists(kind.of_type, selections, values)
        if not selections:
            return values
        return self._nested(kind, selections, values)

    def _lists(
        self, kind: Any, selections: Sequence[SelectionSetNode], values: list[Any]
    ) -> list[Any] | Awaitable[list[Any]]:
        if not selections:
            return values
        return self._nested_lists(kind, selections, values)

    async def _nested_lists(self, kind: Any, selections: Sequence[SelectionSetNode], values: list[Any]) -> list[Any]:
        """All items of all lists as one level, then cut into lists again."""
        self._check_size(sum(len(value) for value in values if value is not None))
        flat = [item for value in values if value is not None for item in value]
        completed = self._completed(kind, selections, flat)
        items = iter(completed if isinstance(completed, list) else await completed)
        return [None if value is None else [next(items) for _ in value] for value in values]

    async def _nested(self, kind: Any, selections: Sequence[SelectionSetNode], values: list[Any]) -> list[Any]:
        """Objects: those that are there as one level per concrete type, then put back into their places."""
        places: dict[str, tuple[GraphQLObjectType, list[int]]] = {}
        for index, value in enumerate(values):
            if value is not None:
                concrete = kind if isinstance(kind, GraphQLObjectType) else self.executor.concrete(kind, value)
                places.setdefault(concrete.name, (concrete, []))[1].append(index)
        made: list[Any] = [None] * len(values)
        for concrete, indexes in places.values():
            parents = [values[index] for index in indexes]
            for index, item in zip(indexes, await self.objects(concrete, selections, parents), strict=True):
                made[index] = item
        return made

    async def _together(self, waiting: Sequence[Awaitable[Any]]) -> list[Any]:
        if len(waiting) == 1:
            return [await waiting[0]]
        return list(await asyncio.gather(*map(self._begun, waiting))) if waiting else []

    def _begun(self, waited: Awaitable[Any]) -> Awaitable[Any]:
        """Coroutines become tasks of the operation, for they must not outlive it."""
        return self.context.start(waited) if asyncio.iscoroutine(waited) else waited
