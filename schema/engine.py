"""Runs operations: documents are parsed and checked once, queries go breadth first, errors are told or masked."""

import uuid
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import strawberry
import structlog
from graphql import (
    DocumentNode,
    ExecutionResult,
    FragmentDefinitionNode,
    GraphQLError,
    OperationDefinitionNode,
    OperationType,
    execute,
    get_operation_ast,
    parse,
    validate,
)
from graphql.execution.values import VariableValues, get_variable_values
from strawberry.extensions import MaxTokensLimiter
from strawberry.types.execution import ExecutionResult as StrawberryResult
from strawberry.types.execution import PreExecutionError

from domain.errors import RegattaError
from resolvers.context import Context
from schema.breadth_first import MAX_OBJECTS, BreadthFirst, TooLarge
from schema.errors import code_of

MAX_DOCUMENT = 100_000
MAX_TOKENS = 4_000
MAX_ERRORS = 20
REMEMBERED_DOCUMENTS = 500

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A document that was parsed and checked against the schema."""

    document: DocumentNode
    errors: tuple[GraphQLError, ...]
    fragments: dict[str, FragmentDefinitionNode]


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
        super().__init__(**options, extensions=[lambda: MaxTokensLimiter(max_token_count=MAX_TOKENS)])
        converter = self.schema_converter
        self._breadth_first = BreadthFirst(self._schema, converter.scalar_registry, self.config)
        self._prepared = lru_cache(maxsize=REMEMBERED_DOCUMENTS)(self._prepare)

    def _prepare(self, query: str) -> Prepared:
        if len(query) > MAX_DOCUMENT:
            return _refused(f"A document has at most {MAX_DOCUMENT} characters.", "GRAPHQL_PARSE_FAILED")
        try:
            document = parse(query, max_tokens=MAX_TOKENS)
        except GraphQLError as error:
            return Prepared(DocumentNode(definitions=()), (_coded(error, "GRAPHQL_PARSE_FAILED"),), {})
        except RecursionError:
            return _refused("The document is nested too deeply.", "GRAPHQL_PARSE_FAILED")
        found = validate(self._schema, document, max_errors=MAX_ERRORS)
        fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
        errors = tuple(_coded(error, "GRAPHQL_VALIDATION_FAILED") for error in found)
        return Prepared(document, errors, fragments)

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
        asked = Asked(prepared, operation, variable_values or {}, context_value, operation_name)
        return await self._answer(asked)

    async def _answer(self, asked: "Asked") -> StrawberryResult:
        definitions = asked.operation.variable_definitions or ()
        values = get_variable_values(self._schema, definitions, asked.variables, max_errors=MAX_ERRORS)
        if not isinstance(values, VariableValues):
            return PreExecutionError(data=None, errors=[_coded(error, "BAD_USER_INPUT") for error in values])
        if asked.operation.operation is OperationType.QUERY:
            try:
                run = self._breadth_first.run(asked.operation, asked.prepared.fragments, values, asked.context)
                return StrawberryResult(data=await run, errors=None)
            except TooLarge:
                told = _error(f"The answer could have more than {MAX_OBJECTS} objects.", "TOO_LARGE")
                return StrawberryResult(data=None, errors=[told])
            except Exception as error:  # noqa: BLE001 - a query has no side effects: run it the ordinary way,
                _log.debug("not run breadth first", reason=repr(error))  # which also tells which field failed
        return await self._ordinary(asked)

    async def _ordinary(self, asked: "Asked") -> StrawberryResult:
        result = execute(
            self._schema,
            asked.prepared.document,
            context_value=asked.context,
            variable_values=asked.variables,
            operation_name=asked.operation_name,
        )
        finished: Any = result if isinstance(result, ExecutionResult) else await result
        return StrawberryResult(data=finished.data, errors=told_errors(finished.errors))

    async def stream(self, *args: Any, **kwargs: Any) -> Any:
        """Subscriptions, and anything else over a websocket; errors are told or masked as over HTTP."""
        return _with_errors_told(await super().stream(*args, **kwargs))


async def _with_errors_told(results: Any) -> AsyncIterator[Any]:
    try:
        async for result in results:
            result.errors = told_errors(result.errors)
            yield result
    finally:
        await results.aclose()


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


def _refused(message: str, code: str) -> Prepared:
    return Prepared(DocumentNode(definitions=()), (_error(message, code),), {})


def _error(message: str, code: str) -> GraphQLError:
    return GraphQLError(message, extensions={"code": code})


def _coded(error: GraphQLError, code: str) -> GraphQLError:
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
    if isinstance(cause, RegattaError):
        return _relocated(error, str(cause), {"code": code_of(cause).value, "argument": list(cause.path) or None})
    correlation_id = uuid.uuid4().hex
    _log.error("unexpected error", correlation_id=correlation_id, path=error.path, exc_info=cause)
    return _relocated(error, "Unexpected error", {"code": "INTERNAL", "correlationId": correlation_id})


def _relocated(error: GraphQLError, message: str, extensions: dict[str, Any]) -> GraphQLError:
    kept = {name: value for name, value in extensions.items() if value is not None}
    return GraphQLError(message, nodes=error.nodes, path=error.path, extensions=kept)
