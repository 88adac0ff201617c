"""The models of a tenant as they can be had now: what is stored and shipped, and what the operator gives access to."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from domain.errors import Unavailable
from domain.model.availability import (
    NO_ENTRY,
    ModelRecords,
    OperatorModels,
    PriceRule,
    effective,
    offers,
    pulled,
    unlisted,
)
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


@dataclass(frozen=True, slots=True)
class _Made:
    """What was made of what was found. It may have keys: it is never shown."""

    records: ModelRecords
    operator: OperatorModels
    offers: Sequence[Offer] = field(repr=False)


class Catalogue:
    """See `domain.ports.ModelCatalogue`.

    `records` reads what is stored of a tenant; `operator` says what the operator's environment gives access to: a
    worker asks itself, an API process asks what the workers published. Both are asked each time, so that an edit
    counts at once; offers are made anew only where an answer differs from the last. The `vault` opens keys; who only
    `looks` is told whether they open, and has no use for them.
    """

    def __init__(
        self,
        records: Callable[[TenantId], Awaitable[ModelRecords]],
        operator: Callable[[], Awaitable[OperatorModels]],
        rule: PriceRule,
        vault: Vault,
        *,
        looks: bool = False,
    ) -> None:
        self._records = records
        self._operator = operator
        self._rule = rule
        self._vault = vault
        self._looks = looks
        self._made: OrderedDict[TenantId, _Made] = OrderedDict()

    async def offers(self, tenant_id: TenantId, named: str | None = None) -> Sequence[Offer]:
        records, operator = await self._records(tenant_id), await self._operator()
        known = self._kept(tenant_id, records, operator)
        if named is None or not _can_be_called(named) or find_offer(known, named):
            return known
        # Rare: a name that the catalogue does not have. Its provider's key and the rule for unknown prices decide.
        [beyond] = self._of([unlisted(named, tenant_id)], records, operator)
        return [*known, replace(beyond, explanation=NO_ENTRY) if beyond.unusable is Unusable.NO_PRICE else beyond]

    def _kept(self, tenant_id: TenantId, records: ModelRecords, operator: OperatorModels) -> Sequence[Offer]:
        """The offers that were made of the same; no time is in them, for a cool-down that ended is not in `records`."""
        made = self._made.get(tenant_id)
        if made is None or (made.records, made.operator) != (records, operator):
            models = effective(shipped(), records.entries)
            models += pulled(operator, models, tenant_id)
            made = self._made[tenant_id] = _Made(records, operator, self._of(models, records, operator))
        self._made.move_to_end(tenant_id)
        if len(self._made) > MOST_TENANTS:
            self._made.popitem(last=False)
        return made.offers

    def _of(self, models: Sequence[Model], records: ModelRecords, operator: OperatorModels) -> list[Offer]:
        keys = _Keys(self._vault, looks=self._looks)
        found = offers(models, records, operator, self._rule, utc_now(), keys.open)
        return [keys.marked(offer) for offer in found]


def _can_be_called(name: str) -> bool:
    """Whether a model of this name can exist beyond the catalogue: its provider has to be said, and allowed."""
    return is_model_name(name) and prefix_of(name) is not None and is_provider_allowed(name)


class _Keys:
    """Opens each credential once; those that do not open make their models unusable, and no others."""

    def __init__(self, vault: Vault, *, looks: bool) -> None:
        self._vault = vault
        self._looks = looks
        self._opened: dict[CredentialId, str | None] = {}
        self._closed: set[str] = set()

    def open(self, credential: Credential, model: Model) -> str | None:
        if credential.id not in self._opened:
            # A model's own key opens for the address only that the entry had when it was set.
            is_own = credential.kind is CredentialKind.MODEL
            binding = credential.binding_at(model.base_url or "") if is_own else credential.binding
            key = self._unlocked(credential, binding)
            self._opened[credential.id] = None if self._looks else key
        return self._opened[credential.id]

    def _unlocked(self, credential: Credential, binding: str) -> str | None:
        try:
            return self._vault.unlock(credential.tenant_id, binding, credential.ciphertext)
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
