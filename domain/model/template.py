"""Templates: reusable, parameterised blueprints of a team, or of one task, in immutable versions."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Final, TypeAlias
from uuid import UUID

from domain.model.blueprint import Blueprint
from domain.model.identity import (
    GenerationId,
    PrincipalId,
    TaskId,
    TeamId,
    TemplateId,
    TemplateUseId,
    TenantId,
    new_id,
    utc_now,
)
from domain.model.money import Money
from domain.model.rules import Rules

MOST_TEMPLATES: Final = 500
"""So many templates in use a tenant may have of its own."""

MOST_PARAMETERS: Final = 50
MOST_VERSIONS: Final = 1000
"""So many versions a template may have."""

MAX_CONTENT: Final = 256_000
"""So many characters the content of a version may have, as JSON."""

MAX_VALUES: Final = 20_000
"""So many values, and keys, it may have: a file of it can be read again."""

VersionKey: TypeAlias = tuple[UUID, int]
"""What names a version: the template's id and the number."""


class TemplateKind(Enum):
    """What a template makes."""

    TEAM = "TEAM"
    TASK = "TASK"


class Visibility(Enum):
    """Who has a template."""

    BUILT_IN = "BUILT_IN"
    TENANT = "TENANT"


class ParameterType(Enum):
    """What values a parameter takes."""

    STRING = "STRING"
    NUMBER = "NUMBER"
    ENUM = "ENUM"
    LIST = "LIST"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A gap in the blueprint's texts, written `{{name}}`; without a `default` a value is required.

    `options` are the values of an ENUM. `least` and `most` bound a NUMBER, the characters of a STRING or the entries of
    a LIST, which is a list of texts; `pattern` is what a STRING has to match as a whole.
    """

    name: str
    type: ParameterType = ParameterType.STRING
    description: str = ""
    default: Any = None
    options: list[str] = field(default_factory=list)
    least: float | None = None
    most: float | None = None
    pattern: str | None = None

    @property
    def is_required(self) -> bool:
        return self.default is None


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateContent:
    """What a version holds. A TASK template has one task in its blueprint, and no role."""

    parameters: list[Parameter] = field(default_factory=list)
    blueprint: Blueprint


@dataclass(slots=True)
class Template:
    """A template without its content; `latest` is the number of its newest version, the one that is used unless named.

    Of a built-in one `tenant_id` is whoever asks, its id is the same everywhere, and it is never changed by anybody.
    """

    tenant_id: TenantId
    name: str
    description: str = ""
    kind: TemplateKind = TemplateKind.TEAM
    domain: str = ""
    tags: list[str] = field(default_factory=list)
    latest: int = 1
    id: TemplateId = field(default_factory=lambda: TemplateId(new_id()))
    version: int = 1
    created_at: datetime = field(default_factory=utc_now)
    updated_at: datetime = field(default_factory=utc_now)
    created_by: PrincipalId | None = None
    archived_at: datetime | None = None

    @property
    def visibility(self) -> Visibility:
        """BUILT_IN for what ships: its record version is 0."""
        return Visibility.TENANT if self.version else Visibility.BUILT_IN

    @property
    def newest(self) -> VersionKey:
        """What names its newest version."""
        return self.id, self.latest

    def check(self) -> None:
        """Hold the rules of a template; raises Invalid with every broken one."""
        rules = Rules()
        rules.name(self.name, "name")
        rules.text(self.description, "description")
        rules.text(self.domain, "domain")
        rules.require(len(self.domain) <= 100, "At most 100 characters.", "domain")  # noqa: PLR2004 - said beside it
        rules.texts(self.tags, "tags")
        rules.hold()


@dataclass(slots=True)
class TemplateVersion:
    """One version, immutable; `content` is a TemplateContent as a document. Numbered from 1."""

    tenant_id: TenantId
    template_id: TemplateId
    number: int
    content: dict[str, Any]
    created_at: datetime = field(default_factory=utc_now)
    created_by: PrincipalId | None = None


@dataclass(frozen=True, slots=True)
class VersionRecord:
    """A version without its content."""

    template_id: TemplateId
    number: int
    created_at: datetime
    created_by: PrincipalId | None = None

    @property
    def key(self) -> VersionKey:
        return self.template_id, self.number


@dataclass(slots=True)
class TemplateUse:
    """A team, or with `task_id` one task of it, that was made from a version of a template.

    `generation_id` names the generation that composed it from the template, None where somebody instantiated it.
    """

    tenant_id: TenantId
    template_id: TemplateId
    number: int
    team_id: TeamId
    task_id: TaskId | None = None
    generation_id: GenerationId | None = None
    id: TemplateUseId = field(default_factory=lambda: TemplateUseId(new_id()))
    created_at: datetime = field(default_factory=utc_now)
    created_by: PrincipalId | None = None


@dataclass(frozen=True, slots=True)
class TemplateAnalytics:
    """What became of what was made from a template, or from one version of it.

    Of TEAM templates executions count, of TASK templates task executions; both only those that are over, not the
    cancelled ones, for `completed` and `failed`. Means are of the completed ones; None where there is none.
    """

    uses: int = 0
    completed: int = 0
    failed: int = 0
    mean_amount: Decimal | None = None
    mean_duration_seconds: float | None = None
    last_used_at: datetime | None = None
    mean_rating: float | None = None
    """What people said of generations that used it, 1 to 5."""

    @property
    def success_rate(self) -> float | None:
        finished = self.completed + self.failed
        return self.completed / finished if finished else None

    @property
    def mean_cost(self) -> Money | None:
        return None if self.mean_amount is None else Money(self.mean_amount)


@dataclass(frozen=True, slots=True)
class VersionAnalytics:
    """The analytics of one version."""

    number: int
    analytics: TemplateAnalytics

    @property
    def figures(self) -> TemplateAnalytics:
        return self.analytics


@dataclass(frozen=True, slots=True)
class AnalyticsReport:
    """Of all versions together, and of each that was used, newest first."""

    template_id: UUID
    total: TemplateAnalytics
    versions: Sequence[VersionAnalytics] = ()

    @property
    def figures(self) -> TemplateAnalytics:
        return self.total


@dataclass(frozen=True, slots=True)
class TeamOrigin:
    """What a team was made of last: a version of a template, a generation, or a generation that used a template."""

    team_id: UUID
    template_id: UUID | None = None
    number: int | None = None
    generation_id: UUID | None = None
