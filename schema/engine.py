"""Runs operations: documents are parsed and checked once, queries go breadth first, errors are told or masked."""

import uuid
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import lru_cache
from inspect import isawaitable
from typing import Any

import strawberry
import structlog
from graphql import (
    DocumentNode,
    ExecutableDefinitionNode,
    ExecutionResult,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLResolveInfo,
    MiddlewareManager,
    OperationDefinitionNode,
    OperationType,
    SelectionNode,
    SelectionSetNode,
    execute,
    get_operation_ast,
    parse,
    subscribe,
    validate,
)
from graphql.execution.values import VariableValues, get_variable_values
from strawberry.types.execution import ExecutionResult as StrawberryResult
from strawberry.types.execution import PreExecutionError
from structlog.contextvars import bind_contextvars, bound_contextvars

from domain.errors import RegattaError
from domain.model.acting import new_fault_id
from domain.ports.tracing import SpanKind
from resolvers.budget import Budget, TooLarge
from resolvers.context import Context
from schema.breadth_first import BreadthFirst
from schema.discretion import without_values
from schema.errors import code_of, place_of

MAX_DOCUMENT = 100_000
MAX_TOKENS = 4_000
MAX_ERRORS = 20
MAX_SELECTIONS = 5_000
"""The most fields of a document once its fragments are spread: a few that spread each other twice make billions."""

MAX_FIELDS = 50_000
"""The most fields that the ordinary executor resolves for one answer; an introspection has 10,000."""

MAX_PAIRS = 50_000
"""The most pairs of fields with the same name in a document: checking whether they can be merged looks at each."""

REMEMBERED_DOCUMENTS = 64
"""Only documents that may be run are remembered; the largest take two megabytes each."""

_TOO_LARGE = "The answer would be too large, or take too much to work out: ask for less at a time."

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A document that was parsed and checked against the schema."""

    document: DocumentNode
    errors: tuple[GraphQLError, ...]
    fragments: dict[str, FragmentDefinitionNode]


class _Refused(Exception):
    """A document that cannot be run, and why."""

    def __init__(self, *errors: GraphQLError) -> None:
        super().__init__(*errors)
        self.errors = errors


@dataclass(frozen=True, slots=True)
class Asked:
    """One operation as it was asked for."""

    prepared: Prepared
    operation: OperationDefinitionNode
    variables: dict[str, Any]
    context: Any
    operation_name: str | None


class Engine(strawberry.Schema):
    """Strawberry's schema with an execution of our own; see the module."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        converter = self.schema_converter
        self._breadth_first = BreadthFirst(self._schema, converter.scalar_registry, self.config)
        self._remembered = lru_cache(maxsize=REMEMBERED_DOCUMENTS)(self._prepare)

    def _prepared(self, query: str) -> Prepared:
        try:
            if len(query) > MAX_DOCUMENT:
                raise _refused(f"A document has at most {MAX_DOCUMENT} characters.", "GRAPHQL_PARSE_FAILED")
            return self._remembered(query)
        except _Refused as refusal:
            return Prepared(DocumentNode(definitions=()), refusal.errors, {})

    def _prepare(self, query: str) -> Prepared:
        """Raises _Refused, which the cache does not keep."""
        document = _parsed(query)
        if _pairs(document) > MAX_PAIRS:
            raise _Refused(_too_large())
        found = validate(self._schema, document, max_errors=MAX_ERRORS)
        if found:
            raise _Refused(*(_coded(error, "GRAPHQL_VALIDATION_FAILED") for error in found))
        fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
        if _selections(document, fragments) > MAX_SELECTIONS:
            raise _Refused(_too_large())
        return Prepared(document, fragments=fragments, errors=())

    def type_of(self, query: str | None, operation_name: str | None) -> str | None:
        """`query`, `mutation` or `subscription`; None for what cannot be run. Quick for a document just run."""
        operation = get_operation_ast(self._prepared(query or "").document, operation_name)
        return operation.operation.value if operation else None

    async def execute(
        self,
        query: str | None,
        variable_values: dict[str, Any] | None = None,
        context_value: Context | None = None,
        root_value: Any | None = None,  # noqa: ARG002 - Strawberry's signature
        operation_name: str | None = None,
        allowed_operation_types: Iterable[Any] | None = None,
        operation_extensions: dict[str, Any] | None = None,  # noqa: ARG002 - Strawberry's signature
    ) -> StrawberryResult:
        """Run one query or mutation; never raises for what the caller sent."""
        prepared = self._prepared(query or "")
        operation = get_operation_ast(prepared.document, operation_name)
        refusal = list(prepared.errors) or _refusal(operation, operation_name, allowed_operation_types)
        if refusal or operation is None:
            return PreExecutionError(data=None, errors=refusal)
        with bound_contextvars(operation_id=_new_operation_id()):
            return await self._traced(Asked(prepared, operation, variable_values or {}, context_value, operation_name))

    async def _traced(self, asked: "Asked") -> StrawberryResult:
        """The answer, in a span; never its document or variables, for those may hold anything."""
        kind, name = asked.operation.operation.value, asked.operation.name
        about = {"graphql.operation.type": kind, "graphql.operation.name": name.value if name else None}
        parent = asked.context.trace_parent
        stands = SpanKind.INTERNAL if parent is None else SpanKind.SERVER  # a websocket has no span that answers
        with asked.context.tracing.span(kind, about, kind=stands, parent=parent) as span:
            result = await self._answer(asked)
            if any((error.extensions or {}).get("code") == "INTERNAL" for error in result.errors or ()):
                span.fail("INTERNAL")
            return result

    async def _answer(self, asked: "Asked") -> StrawberryResult:
        definitions = asked.operation.variable_definitions or ()
        values = get_variable_values(self._schema, definitions, asked.variables, max_errors=MAX_ERRORS)
        if not isinstance(values, VariableValues):
            return PreExecutionError(data=None, errors=[_coded(error, "BAD_USER_INPUT") for error in values])
        if asked.operation.operation is OperationType.QUERY:
            try:
                async with asked.context.operation() as context:
                    run = self._breadth_first.run(asked.operation, asked.prepared.fragments, values, context)
                    return StrawberryResult(data=await run, errors=None)
            except TooLarge:
                return StrawberryResult(data=None, errors=[_too_large()])
            except Exception as error:  # noqa: BLE001 - a query has no side effects: run it the ordinary way,
                _log.debug("not run breadth first", reason=repr(error))  # which also tells which field failed
        return await self._ordinary(asked)

    async def _ordinary(self, asked: "Asked") -> StrawberryResult:
        async with asked.context.operation() as context:
            result = execute(
                self._schema,
                asked.prepared.document,
                context_value=context,
                variable_values=asked.variables,
                operation_name=asked.operation_name,
                middleware=MiddlewareManager(_Counted()),
            )
            finished: Any = result if isinstance(result, ExecutionResult) else await result
        return StrawberryResult(data=finished.data, errors=told_errors(finished.errors))

    async def stream(
        self,
        query: str | None,
        variable_values: dict[str, Any] | None = None,
        context_value: Any | None = None,
        root_value: Any | None = None,  # noqa: ARG002 - Strawberry's signature
        operation_name: str | None = None,
        operation_extensions: dict[str, Any] | None = None,  # noqa: ARG002 - Strawberry's signature
        allowed_operation_types: Iterable[Any] | None = None,  # noqa: ARG002 - over a websocket all are
    ) -> Any:
        """Run any operation; a query or mutation gives one answer. Errors are told or masked as over HTTP."""
        prepared = self._prepared(query or "")
        operation = get_operation_ast(prepared.document, operation_name)
        if prepared.errors or operation is None or operation.operation is not OperationType.SUBSCRIPTION:
            return self._single(query, variable_values, context_value, operation_name)
        asked = Asked(prepared, operation, variable_values or {}, context_value, operation_name)
        return self._messages(asked)

    async def _single(
        self, query: str | None, variables: dict[str, Any] | None, context: Any, name: str | None
    ) -> AsyncIterator[StrawberryResult]:
        yield await self.execute(query, variables, context, operation_name=name)

    async def _messages(self, asked: "Asked") -> AsyncIterator[StrawberryResult]:
        bind_contextvars(operation_id=_new_operation_id())  # as long as the task lasts in which it is read: its own
        async with asked.context.operation() as context, aclosing(self._told_messages(asked, context)) as messages:
            async for message in messages:
                yield message

    async def _told_messages(self, asked: "Asked", context: Context) -> AsyncGenerator[StrawberryResult, None]:
        found: Any = subscribe(
            self._schema,
            asked.prepared.document,
            context_value=context,
            variable_values=asked.variables,
            operation_name=asked.operation_name,
            middleware=MiddlewareManager(_Counted()),
        )
        source = await found if isawaitable(found) else found
        if isinstance(source, ExecutionResult):
            yield PreExecutionError(data=None, errors=told_errors(source.errors))
            return
        try:
            async with aclosing(source):
                async for result in source:
                    yield StrawberryResult(data=result.data, errors=told_errors(result.errors))
        except Exception as error:  # noqa: BLE001 - whatever the source raises ends the subscription, and is told
            yield StrawberryResult(data=None, errors=[_told(_at_root(error, asked.operation))])


def _new_operation_id() -> str:
    """For the log lines: the operations of a websocket have one request id among them."""
    return uuid.uuid4().hex


def _at_root(error: Exception, operation: OperationDefinitionNode) -> GraphQLError:
    """The error at the operation's root field: a subscription has one."""
    nodes = [node for node in operation.selection_set.selections if isinstance(node, FieldNode)]
    path = [node.alias.value if node.alias else node.name.value for node in nodes[:1]]
    return GraphQLError(str(error), nodes=nodes, path=path, original_error=error)


class _Counted:
    """Middleware that stops an answer which has too many fields; a subscription's messages count each for itself."""

    def __init__(self) -> None:
        self.fields = 0

    def resolve(self, resolve: Callable[..., Any], root: Any, info: GraphQLResolveInfo[Any], **arguments: Any) -> Any:
        if info.operation.operation is OperationType.SUBSCRIPTION and info.path.prev is None:
            self.fields = 0
            info.context.budget = Budget()
        self.fields += 1
        if self.fields > MAX_FIELDS:
            raise _too_large()
        return resolve(root, info, **arguments)


def _too_large() -> GraphQLError:
    return _error(_TOO_LARGE, "TOO_LARGE")


def _refusal(
    operation: OperationDefinitionNode | None, name: str | None, allowed: Iterable[Any] | None
) -> list[GraphQLError]:
    """Why the operation cannot be run this way; empty when it can."""
    if operation is None:
        named = f"There is no operation “{name}” in the document." if name else "Name the operation to run."
        return [_error(named, "OPERATION_RESOLUTION_FAILED")]
    if operation.operation is OperationType.SUBSCRIPTION:
        return [_error("Subscriptions run over a websocket.", "BAD_REQUEST")]
    names = None if allowed is None else {getattr(kind, "value", kind) for kind in allowed}
    if names is not None and operation.operation.value not in names:
        return [_error(f"A {operation.operation.value} cannot be run this way.", "BAD_REQUEST")]
    return []


def _selections(document: DocumentNode, fragments: Mapping[str, FragmentDefinitionNode]) -> int:
    """How many fields a valid document selects, those of a fragment each time that it is spread."""
    known: dict[str, int] = {}

    def count(selected: SelectionSetNode | None) -> int:
        return sum(map(count_one, selected.selections)) if selected else 0

    def count_one(node: SelectionNode) -> int:
        if not isinstance(node, FragmentSpreadNode):
            return isinstance(node, FieldNode) + count(node.selection_set)  # type: ignore[attr-defined]  # both have one
        name = node.name.value
        if name not in known:
            known[name] = count(fragments[name].selection_set)
        return known[name]

    return sum(count(node.selection_set) for node in document.definitions if isinstance(node, OperationDefinitionNode))


def _parsed(query: str) -> DocumentNode:
    """Raises _Refused."""
    try:
        return parse(query, max_tokens=MAX_TOKENS)
    except GraphQLError as error:
        # No GraphQLSyntaxError: Strawberry would close the whole websocket for it.
        plain = GraphQLError(error.message, source=error.source, positions=error.positions)
        raise _Refused(_coded(plain, "GRAPHQL_PARSE_FAILED")) from None
    except RecursionError:
        raise _refused("The document is nested too deeply.", "GRAPHQL_PARSE_FAILED") from None


def _pairs(document: DocumentNode) -> int:
    """How many pairs of fields share a name in the answer, wherever in the document they stand."""
    names: Counter[str] = Counter()
    waiting = [node.selection_set for node in document.definitions if isinstance(node, ExecutableDefinitionNode)]
    while waiting:
        for node in waiting.pop().selections:
            if isinstance(node, FieldNode):
                names[(node.alias or node.name).value] += 1
            if not isinstance(node, FragmentSpreadNode) and node.selection_set:  # type: ignore[attr-defined]  # both have one
                waiting.append(node.selection_set)  # type: ignore[attr-defined]  # the same
    return sum(count * count for count in names.values())


def _refused(message: str, code: str) -> _Refused:
    return _Refused(_error(message, code))


def _error(message: str, code: str) -> GraphQLError:
    return GraphQLError(message, extensions={"code": code})


def _coded(error: GraphQLError, code: str) -> GraphQLError:
    error.message = without_values(error.message)
    error.extensions = {"code": code, **(error.extensions or {})}
    return error


def told_errors(errors: Sequence[GraphQLError] | None) -> list[GraphQLError] | None:
    """Errors as a client may see them: the domain's with their code, everything unexpected masked."""
    return [_told(error) for error in errors] if errors else None


def _told(error: GraphQLError) -> GraphQLError:
    cause = error.original_error
    while isinstance(cause, GraphQLError) and cause.original_error:
        cause = cause.original_error
    if cause is None or isinstance(cause, GraphQLError):
        return _coded(error, "BAD_USER_INPUT")
    if isinstance(cause, TooLarge):
        return _relocated(error, _TOO_LARGE, {"code": "TOO_LARGE"})
    if isinstance(cause, RegattaError):
        return _relocated(error, str(cause), {"code": code_of(cause).value, "argument": place_of(cause) or None})
    correlation_id = new_fault_id()
    _log.error("unexpected error", correlation_id=correlation_id, path=error.path, exc_info=cause)
    return _relocated(error, "Unexpected error", {"code": "INTERNAL", "correlationId": correlation_id})


def _relocated(error: GraphQLError, message: str, extensions: dict[str, Any]) -> GraphQLError:
    kept = {name: value for name, value in extensions.items() if value is not None}
    return GraphQLError(message, nodes=error.nodes, path=error.path, extensions=kept)
