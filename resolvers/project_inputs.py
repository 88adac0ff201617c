"""The inputs of projects and of the tenant."""

from decimal import Decimal

import strawberry

from resolvers.inputs import described

_AT_ONCE = "Most executions that run at once, 1 to 10000"


@strawberry.input(description="A new project.")
class CreateProjectInput:
    name: str = described("Unique in the tenant.", ...)
    description: str = described("What the project is about.", "")
    monthly_budget: Decimal | None = described("Most dollars per calendar month (UTC); unlimited without one.")
    max_parallel_executions: int | None = described(f"{_AT_ONCE}; no limit of its own without one.")


@strawberry.input(description="Changes to a project; what is left out stays.")
class UpdateProjectInput:
    id: strawberry.ID = described("The project.", ...)
    version: int = described("The version that was read; a newer one is not overwritten.", ...)
    name: str | None = described("Unique in the tenant.")
    description: str | None = described("What the project is about.")
    monthly_budget: Decimal | None = described("Most dollars per calendar month (UTC); null for unlimited.")
    max_parallel_executions: int | None = described(f"{_AT_ONCE}; null for no limit of its own.")


@strawberry.input(description="Changes to the tenant; what is left out stays.")
class UpdateTenantInput:
    monthly_budget: Decimal | None = described("Most dollars per calendar month (UTC); null for unlimited.")
    max_parallel_executions: int | None = described(f"{_AT_ONCE}; null for no limit of its own.")
    retention_days: int | None = described(
        "Days after their end when inputs, outputs and events of executions are removed for good, 1 to 36500; null for"
        " as long as the deployment says, for ever where it says nothing."
    )
