"""The models of a tenant as they can be had now: what is stored and shipped, and what the operator gives access to."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from domain.errors import Unavailable
from domain.model.availability import ModelRecords, OperatorModels, PriceRule, effective, offers, pulled, unlisted
from domain.model.catalogue import shipped
from domain.model.credential import Credential, CredentialKind
from domain.model.identity import CredentialId, TenantId, utc_now
from domain.model.model import Model, Unusable
from domain.model.model_names import is_model_name, is_provider_allowed, prefix_of
from domain.model.routing import Offer, find_offer
from domain.ports import ModelCatalogue, Vault

MOST_TENANTS: Final = 256
"""So many tenants' offers are kept at once; they are quickly made anew."""

_UNREADABLE: Final = "Its key cannot be decrypted with this deployment's secret key: set it again."


@dataclass(slots=True)
class _Known:
    """What was found out of a tenant, until when it counts (monotonic seconds). It has keys: it is never shown."""

    until: float
    offers: "asyncio.Future[Sequence[Offer]]" = field(repr=False)


class Catalogue:
    """See `domain.ports.ModelCatalogue`.

    `records` reads what is stored of a tenant; `operator` says what the operator's environment gives access to: a
    worker asks itself, an API process asks what the workers published. Without a `vault` no key is opened, which is
    enough to say what is usable. Offers are kept for `keep_seconds`; 0 asks anew each time.
    """

    def __init__(
        self,
        records: Callable[[TenantId], Awaitable[ModelRecords]],
        operator: Callable[[], Awaitable[OperatorModels]],
        rule: PriceRule,
        vault: Vault | None = None,
        keep_seconds: float = 1.0,
    ) -> None:
        self._records = records
        self._operator = operator
        self._rule = rule
        self._vault = vault
        self._keep_seconds = keep_seconds
        self._known: OrderedDict[TenantId, _Known] = OrderedDict()

    async def offers(self, tenant_id: TenantId, named: str | None = None) -> Sequence[Offer]:
        known = await self._kept(tenant_id)
        if named is None or not _can_be_called(named) or find_offer(known, named):
            return known
        # Rare: a name that the catalogue does not have. Its provider's key and the rule for unknown prices decide.
        records, operator = await self._asked(tenant_id)
        return [*known, *self._offers(tenant_id, records, operator, named)]

    async def _kept(self, tenant_id: TenantId) -> Sequence[Offer]:
        """The offers of the tenant; whoever asks meanwhile waits for the same question."""
        if self._keep_seconds <= 0:
            return await self._made(tenant_id)
        found = self._known.get(tenant_id)
        if found is None or found.until <= time.monotonic():
            asked = asyncio.ensure_future(self._made(tenant_id))
            found = self._known[tenant_id] = _Known(time.monotonic() + self._keep_seconds, asked)
            asked.add_done_callback(lambda done: self._forget_failed(tenant_id, done))
        self._known.move_to_end(tenant_id)
        while len(self._known) > MOST_TENANTS:
            self._known.popitem(last=False)
        return await asyncio.shield(found.offers)  # one that is cancelled takes nothing from the others

    def _forget_failed(self, tenant_id: TenantId, done: "asyncio.Future[Sequence[Offer]]") -> None:
        found = self._known.get(tenant_id)
        if found is not None and found.offers is done and (done.cancelled() or done.exception() is not None):
            del self._known[tenant_id]

    async def _made(self, tenant_id: TenantId) -> Sequence[Offer]:
        records, operator = await self._asked(tenant_id)
        return self._offers(tenant_id, records, operator)

    async def _asked(self, tenant_id: TenantId) -> tuple[ModelRecords, OperatorModels]:
        return await self._records(tenant_id), await self._operator()

    def _offers(
        self, tenant_id: TenantId, records: ModelRecords, operator: OperatorModels, named: str | None = None
    ) -> list[Offer]:
        """Those of the whole catalogue, or that of the one name that it does not have."""
        models = [unlisted(named, tenant_id)] if named else effective(shipped(), records.entries)
        if not named:
            models += pulled(operator, models, tenant_id)
        keys = _Keys(self._vault)
        found = offers(models, records, operator, self._rule, utc_now(), keys.open)
        return [keys.marked(offer) for offer in found]


def _can_be_called(name: str) -> bool:
    """Whether a model of this name can exist beyond the catalogue: its provider has to be said, and allowed."""
    return is_model_name(name) and prefix_of(name) is not None and is_provider_allowed(name)


class _Keys:
    """Opens each credential once; those that do not open make their models unusable, and no others."""

    def __init__(self, vault: Vault | None) -> None:
        self._vault = vault
        self._opened: dict[CredentialId, str | None] = {}
        self._closed: set[str] = set()

    def open(self, credential: Credential, model: Model) -> str | None:
        if self._vault is None:
            return None
        if credential.id not in self._opened:
            # A model's own key opens for the address only that the entry had when it was set.
            is_own = credential.kind is CredentialKind.MODEL
            binding = credential.binding_at(model.base_url or "") if is_own else credential.binding
            self._opened[credential.id] = self._unlocked(self._vault, credential, binding)
        return self._opened[credential.id]

    def _unlocked(self, vault: Vault, credential: Credential, binding: str) -> str | None:
        try:
            return vault.unlock(credential.tenant_id, binding, credential.ciphertext)
        except Unavailable:
            self._closed.add(f"{credential.tenant_id}:{credential.id}")
            return None

    def marked(self, offer: Offer) -> Offer:
        """The offer, or the same as unusable where its key did not open: never with somebody else's key instead."""
        if offer.deployment is None or offer.deployment.credential not in self._closed:
            return offer
        return Offer(offer.model, None, Unusable.NO_KEY, _UNREADABLE)


def _conforms(catalogue: Catalogue) -> ModelCatalogue:
    return catalogue
