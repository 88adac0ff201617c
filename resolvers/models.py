"""The model catalogue in the graph: its list, edits of the tenant's own entries, and previews of routing."""

from typing import Annotated, Any
from uuid import UUID

import strawberry

from domain.errors import Invalid, NotFound, Problem
from domain.model.catalogue import find_shipped_by_id, own_entry, with_own_prices
from domain.model.identity import TaskId
from domain.model.listing import ORDER
from domain.model.model import Model
from domain.services.routing_preview import PreviewRequest, RoutingPreview
from resolvers.context import Info
from resolvers.edges import Paged, asks_for, with_page_arguments
from resolvers.filters import ModelFilter
from resolvers.inputs import ArchiveInput, RestoreInput, given
from resolvers.loaders import ModelsByTenant
from resolvers.model_inputs import CreateModelInput, RoutingPreviewInput, UpdateModelInput
from resolvers.node_ids import uuid_of

_PAGED = Paged(ModelsByTenant, "id", hides_archived=False, order_by=ORDER)


async def _models(root: Any, info: Any, **arguments: Any) -> Any:  # noqa: ARG001 - a root field has no parent
    request = _PAGED.request(arguments, with_total=asks_for(info._raw_info, "totalCount"))  # noqa: SLF001 - the AST
    info.context.budget.promise(request.first)
    return await info.context.load(_PAGED.path, (info.context.tenant_id, request))


models = with_page_arguments(_models, ModelFilter, None)

# ---------------------------------------------------------------- mutations

_NULLABLE = frozenset(
    {
        "prompt_price",
        "completion_price",
        "cached_price",
        "context_window",
        "max_output_tokens",
        "base_url",
        "routing_order",
        "requests_per_minute",
        "tokens_per_minute",
    }
)


async def create_model(info: Info, input: CreateModelInput) -> Model:  # noqa: A002 - the graph's name, as below
    values = given(input, without=("name",), nullable=_NULLABLE)
    values["created_by"] = info.context.principal_id
    thing = own_entry(info.context.tenant_id, input.name, values)
    if thing is None:
        raise Invalid.at("No model of this name ships with Regatta, so it needs a tier.", "tier")
    return await info.context.services.models.create(thing)


async def update_model(info: Info, input: UpdateModelInput) -> Model:  # noqa: A002
    identifier = _own(input.id)
    changes = with_own_prices(given(input, without=("id", "version"), nullable=_NULLABLE))
    return await info.context.services.models.update(info.context.tenant_id, identifier, input.version, changes)


async def archive_model(info: Info, input: ArchiveInput) -> Model:  # noqa: A002
    return await info.context.services.models.archive(info.context.tenant_id, _own(input.id))


async def restore_model(info: Info, input: RestoreInput) -> Model:  # noqa: A002
    return await info.context.services.models.restore(info.context.tenant_id, _own(input.id))


def _own(identifier: str) -> UUID:
    """The id of what may be an own entry; raises Invalid for a shipped one, NotFound for what is no model."""
    found = uuid_of("Model", identifier, "id")
    if find_shipped_by_id(found):
        message = "This entry ships with Regatta: change it by making one of the same name with createModel."
        raise Invalid.at(message, "id")
    return found


# ---------------------------------------------------------------- routing


_Input = Annotated[RoutingPreviewInput, strawberry.argument(description="What is asked for.")]


async def routing_preview(info: Info, input: _Input) -> RoutingPreview | None:  # noqa: A002
    context = info.context
    try:
        task_id = None if input.task_id is None else TaskId(uuid_of("Task", input.task_id))
        request = PreviewRequest(
            task_id, input.description, input.expected_output, input.expertise, input.model, input.quality_preference
        )
        return await context.services.preview_routing(context.tenant_id, request)
    except NotFound:
        return None
    except Invalid as error:
        raise Invalid([Problem(it.message, ("input", *it.path)) for it in error.problems]) from error
