"""Mutations on webhooks, their secrets and deliveries."""

from domain.model.identity import ProjectId
from domain.model.webhook import Webhook, WebhookDelivery
from domain.services.webhooks import OLD_SECRET_SECONDS, Revealed
from resolvers.context import Info
from resolvers.inputs import ArchiveInput, RestoreInput, given
from resolvers.node_ids import uuid_of
from resolvers.webhook_inputs import (
    CreateWebhookInput,
    RedeliverWebhookInput,
    RotateWebhookSecretInput,
    TestWebhookInput,
    UpdateWebhookInput,
)


async def create_webhook(info: Info, input: CreateWebhookInput) -> Revealed:  # noqa: A002 - the graph's name, as below
    context = info.context
    project_id = ProjectId(uuid_of("Project", input.project_id, "projectId"))
    values = given(input, without=("project_id",))
    webhook = Webhook(context.tenant_id, project_id, **values, created_by=context.principal_id)
    return await context.services.webhooks.create(webhook)


async def update_webhook(info: Info, input: UpdateWebhookInput) -> Webhook:  # noqa: A002
    identifier = uuid_of("Webhook", input.id, "id")
    changes = given(input, without=("id", "version"))
    return await info.context.services.webhooks.update(info.context.tenant_id, identifier, input.version, changes)


async def archive_webhook(info: Info, input: ArchiveInput) -> Webhook:  # noqa: A002
    return await info.context.services.webhooks.archive(info.context.tenant_id, uuid_of("Webhook", input.id, "id"))


async def restore_webhook(info: Info, input: RestoreInput) -> Webhook:  # noqa: A002
    return await info.context.services.webhooks.restore(info.context.tenant_id, uuid_of("Webhook", input.id, "id"))


async def rotate_webhook_secret(info: Info, input: RotateWebhookSecretInput) -> Revealed:  # noqa: A002
    identifier = uuid_of("Webhook", input.id, "id")
    wanted = given(input, without=("id",)).get("old_valid_seconds", OLD_SECRET_SECONDS)
    return await info.context.services.webhooks.rotate_secret(info.context.tenant_id, identifier, wanted)


async def test_webhook(info: Info, input: TestWebhookInput) -> WebhookDelivery:  # noqa: A002
    return await info.context.services.webhooks.test(info.context.tenant_id, uuid_of("Webhook", input.id, "id"))


async def redeliver_webhook(info: Info, input: RedeliverWebhookInput) -> WebhookDelivery:  # noqa: A002
    identifier = uuid_of("WebhookDelivery", input.delivery_id, "deliveryId")
    return await info.context.services.webhooks.redeliver(info.context.tenant_id, identifier)
