"""Values of the domain as JSON documents, and back: by their types, amounts as text, nothing unknown in them."""

from collections.abc import Hashable
from functools import lru_cache
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter

T = TypeVar("T")


@lru_cache(maxsize=64)
def _adapter(kind: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def to_document(kind: type[T], value: T) -> Any:
    """The value of this type as JSON."""
    return _adapter(cast("Hashable", kind)).dump_python(value, mode="json")


def of_document(kind: type[T], document: Any) -> T:
    """The value of a document that `to_document` made; raises pydantic's ValidationError for any other."""
    return cast("T", _adapter(cast("Hashable", kind)).validate_python(document))
