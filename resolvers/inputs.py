"""What inputs are made of, and those that all things share."""

from dataclasses import fields
from typing import Any

import strawberry

import resolvers.enums  # noqa: F401 - registers the enums with Strawberry before a type uses them
from domain.errors import Invalid
from domain.model.texts import camel


def described(text: str, default: Any = strawberry.UNSET, **options: Any) -> Any:
    """A field of an input with its documentation; it may be left out unless `default` is `...`."""
    if default is ...:
        return strawberry.field(description=text, **options)
    return strawberry.field(description=text, default=default, **options)


def given(
    source: Any, *, without: tuple[str, ...] = (), nullable: frozenset[str] = frozenset(), under: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The fields that the caller gave; raises Invalid, located `under`, for a null where the thing needs a value."""
    values = {item.name: getattr(source, item.name) for item in fields(source)}
    found = {name: value for name, value in values.items() if value is not strawberry.UNSET and name not in without}
    for name, value in found.items():
        if value is None and name not in nullable:
            raise Invalid.at("This may be left out, but it cannot be null.", *under, camel(name))
    return found


@strawberry.input(description="Which thing to duplicate, and the name of the copy.")
class DuplicateInput:
    id: strawberry.ID = described("The original.", ...)
    name: str | None = described("The name of the copy; the original's with “(copy)” by default.", None)


@strawberry.input(description="Which thing to archive: it is taken out of use, its history stays.")
class ArchiveInput:
    id: strawberry.ID = described("The thing to archive.", ...)


@strawberry.input(description="Which archived thing to take back into use.")
class RestoreInput:
    id: strawberry.ID = described("The thing to restore.", ...)
