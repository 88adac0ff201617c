"""The schema, built once, and its text."""

from decimal import Decimal
from functools import cache
from pathlib import Path

from strawberry.schema.config import StrawberryConfig

from schema.engine import Engine
from schema.errors import USER_ERRORS
from schema.mutation import Mutation
from schema.query import Query
from schema.scalars import DECIMAL
from schema.subscription import Subscription
from schema.types.events import EVENT_TYPES
from schema.types.execution import TeamRevision
from schema.types.role import Role
from schema.types.task import Task
from schema.types.tool import Tool

SNAPSHOT = Path(__file__).parent / "schema.graphql"


@cache
def build() -> Engine:
    """The schema with all types that are reached only through interfaces: one for the process, it keeps no state."""
    return Engine(
        query=Query,
        mutation=Mutation,
        subscription=Subscription,
        types=[*USER_ERRORS, *EVENT_TYPES, TeamRevision, Role, Task, Tool],
        config=StrawberryConfig(scalar_map={Decimal: DECIMAL}),
    )


def sdl() -> str:
    """The schema as text, as it stands in `schema.graphql`."""
    return build().as_str() + "\n"
