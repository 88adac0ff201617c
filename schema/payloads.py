"""Mutations: one payload type each, made of the thing and the errors; errors are caught here, once."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import strawberry
from strawberry.extensions import FieldExtension
from strawberry.tools import create_type

from domain.errors import RegattaError
from domain.model.acting import Act, acting
from domain.model.texts import camel
from schema.errors import UserError, told


def payload(name: str, **things: Any) -> type[Any]:
    """The payload type of a mutation: its things, null when it was refused, and the errors."""
    described: list[Any] = [
        strawberry.field(name=camel(key), graphql_type=kind, description="The result; null when it was refused.")
        for key, kind in things.items()
    ]
    for key, item in zip(things, described, strict=True):
        item.python_name = key
    errors: Any = strawberry.field(graphql_type=list[UserError], description="Why it was refused; empty when not.")
    errors.python_name = "errors"
    return create_type(name, [*described, errors], description=f"The answer of `{_mutation_name(name)}`.")


def _mutation_name(name: str) -> str:
    stem = name.removesuffix("Payload")
    return stem[0].lower() + stem[1:]


class Answer(FieldExtension):
    """Wraps what a mutation's resolver returns, or raises, into its payload."""

    def __init__(self, unpack: Callable[[Any], Mapping[str, Any]], names: tuple[str, ...]) -> None:
        self.unpack = unpack
        self.names = names

    async def resolve_async(
        self, next_: Callable[..., Awaitable[Any]], source: Any, info: strawberry.Info, **kwargs: Any
    ) -> Any:
        act = acting.set(Act(info.field_name, info.context.principal_id))  # what is written meanwhile is audited
        try:
            return _Payload(errors=[], **self.unpack(await next_(source, info, **kwargs)))
        except RegattaError as error:
            return _Payload(errors=told(error), **dict.fromkeys(self.names))
        finally:
            acting.reset(act)


class _Payload:
    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


def mutation(
    name: str,
    resolver: Any,
    description: str,
    *,
    unpack: Callable[[Any], Mapping[str, Any]] | None = None,
    **things: Any,
) -> Any:
    """A mutation with a payload of its own; a single thing is what the resolver returns."""
    names = tuple(things)
    made = strawberry.mutation(
        resolver=resolver,
        description=description,
        graphql_type=payload(f"{name}Payload", **{key: kind | None for key, kind in things.items()}),
        extensions=[Answer(unpack or (lambda thing: {names[0]: thing}), names)],
    )
    for argument in made.arguments:  # there is one, the input
        argument.description = "What is asked for."
    return made
