"""The inputs of templates; translated into the domain's words in `resolvers.templates`."""

from enum import Enum

import strawberry
from strawberry.scalars import JSON

from domain.model.parameter_finding import MOST_PROPOSALS
from domain.model.template import MOST_PARAMETERS, ParameterType, TemplateKind, Visibility
from resolvers.blueprints import BlueprintEditsInput, BlueprintInput, TaskBlueprintInput
from resolvers.filters import Direction, TextFilter
from resolvers.inputs import described

_NUMBER = "The number of a version; the newest without one."
_VALUES = "Values by the names of the parameters, as an object; those with a default may be left out."
_KEY = "The same key and input give the first result again; kept for 24 hours."


@strawberry.input(description="A gap in the texts of a template, written `{{name}}` there.")
class TemplateParameterInput:
    name: str = described("Letters, digits and _; unique in the template.", ...)
    type: ParameterType | None = described("What values it takes; STRING by default.")
    description: str | None = described("What it is, for whoever gives the value.")
    default: JSON | None = described("The value where none is given; without one, or null, a value is required.")
    options: list[str] | None = described("The values of an ENUM.")
    least: float | None = described("The least NUMBER, characters of a STRING, or entries of a LIST.")
    most: float | None = described("The most of that.")
    pattern: str | None = described("A regular expression that a STRING has to match as a whole.")


@strawberry.input(description="A parameter that takes the place of a value in the texts of a team.")
class ReplacedValueInput:
    value: str = described("What it takes the place of, wherever that stands as a whole word.", ...)
    name: str = described("Letters, digits and _; unique in the template.", ...)
    type: ParameterType | None = described("What values it takes; STRING by default.")
    description: str | None = described("What it is, for whoever gives the value.")
    is_required: bool | None = described(
        "Whether a value is required, so that there is no default; without it the replaced one is that."
    )
    default: JSON | None = described("The value where none is given, if that is to be another than the replaced one.")
    options: list[str] | None = described("The values of an ENUM.")
    least: float | None = described("The least NUMBER, characters of a STRING, or entries of a LIST.")
    most: float | None = described("The most of that.")
    pattern: str | None = described("A regular expression that a STRING has to match as a whole.")


# ---------------------------------------------------------------- making and changing templates

_BLUEPRINT = "The team that it makes; its texts may have `{{parameters}}`."
_TASK = "The task that it makes, without a role and dependencies; its texts may have `{{parameters}}`."


@strawberry.input(description="A new template: of a team, by a blueprint, or of a task.")
class CreateTemplateInput:
    name: str = described("Unique among your own templates.", ...)
    description: str | None = described("What it is for.")
    domain: str | None = described("Where it is at home, like “marketing”.")
    tags: list[str] | None = described("Words to find it by.")
    parameters: list[TemplateParameterInput] | None = described(f"Its parameters, at most {MOST_PARAMETERS}.")
    blueprint: BlueprintInput | None = described(f"{_BLUEPRINT} Either this or a task.")
    task: TaskBlueprintInput | None = described(f"{_TASK} Either this or a blueprint.")


@strawberry.input(
    description="Changes to a template; what is left out stays. Parameters, blueprint and task make a new version,"
    " where they differ from the newest one."
)
class UpdateTemplateInput:
    id: strawberry.ID = described("The template.", ...)
    version: int = described("The version that was read; a newer one is not overwritten.", ...)
    name: str | None = described("Unique among your own templates.")
    description: str | None = described("What it is for.")
    domain: str | None = described("Where it is at home.")
    tags: list[str] | None = described("Words to find it by; replaces them all.")
    parameters: list[TemplateParameterInput] | None = described("Its parameters; replaces them all.")
    blueprint: BlueprintInput | None = described(f"{_BLUEPRINT} For a template of a team.")
    task: TaskBlueprintInput | None = described(f"{_TASK} For a template of a task.")


@strawberry.input(description="Which template to read from YAML.")
class ImportTemplateInput:
    yaml: str = described("The text, at most 2 MB; `exportedTemplate` writes such.", ...)
    name: str | None = described("What it is called, in place of the name in the text, which then needs none.")


@strawberry.input(description="Which team to make a template of.")
class SaveTeamAsTemplateInput:
    team_id: strawberry.ID = described("The team, as it is now.", ...)
    name: str = described("Unique among your own templates.", ...)
    description: str | None = described("What it is for; the team's description by default.")
    domain: str | None = described("Where it is at home, like “marketing”.")
    tags: list[str] | None = described("Words to find it by.")
    parameters: list[ReplacedValueInput] | None = described(
        f"Which values become parameters; empty for none. Without it those of `parameterProposals`, at most"
        f" {MOST_PROPOSALS}."
    )


# ---------------------------------------------------------------- making something of a template


@strawberry.input(description="Which team to make of a template.")
class InstantiateTemplateInput:
    template_id: strawberry.ID = described("The template, one of a team.", ...)
    project_id: strawberry.ID = described("The project of the new team.", ...)
    number: int | None = described(_NUMBER)
    parameters: JSON | None = described(_VALUES)
    overrides: BlueprintEditsInput | None = described("Changes to what comes of it, before the team is made.")
    name: str | None = described("What the team is called, in place of what the template says.")
    idempotency_key: str | None = described(_KEY)


@strawberry.input(description="Which task to make of a template.")
class InstantiateTaskTemplateInput:
    template_id: strawberry.ID = described("The template, one of a task.", ...)
    team_id: strawberry.ID = described("The team of the new task.", ...)
    number: int | None = described(_NUMBER)
    parameters: JSON | None = described(_VALUES)
    role_id: strawberry.ID | None = described("Who does it; matched by skill without one.")
    name: str | None = described("What the task is called, in place of what the template says.")
    depends_on: list[strawberry.ID] | None = described("The tasks of the team that it waits for.")
    idempotency_key: str | None = described(_KEY)


# ---------------------------------------------------------------- filters and orders


@strawberry.input(description="Conditions on what a template makes.")
class TemplateKindFilter:
    in_: list[TemplateKind] | None = strawberry.field(name="in", description="One of these.", default=None)


@strawberry.input(description="Conditions on who has a template.")
class VisibilityFilter:
    in_: list[Visibility] | None = strawberry.field(name="in", description="One of these.", default=None)


@strawberry.input(description="Which templates; all given conditions must hold. Archived ones only when asked for.")
class TemplateFilter:
    name: TextFilter | None = described("By name.", None)
    kind: TemplateKindFilter | None = described("By what it makes.", None)
    visibility: VisibilityFilter | None = described("By who has it.", None)
    domain: TextFilter | None = described("By where it is at home.", None)
    tags: TextFilter | None = described("By a tag: one of them has to meet all of these.", None)
    is_archived: bool = described(
        "The archived ones instead of those in use, the last 1,000 that were archived.", default=False
    )


@strawberry.enum(description="By what templates are ordered; those without such a figure come last.")
class TemplateOrderField(Enum):
    NAME = strawberry.enum_value("name", description="What it is called.")
    CREATED_AT = strawberry.enum_value("created_at", description="When it was made, or shipped.")
    USES = strawberry.enum_value("uses", description="How often something was made of it.")
    SUCCESS_RATE = strawberry.enum_value("success_rate", description="How many of the executions completed.")
    MEAN_COST = strawberry.enum_value("mean_cost", description="What those cost on average.")
    MEAN_DURATION = strawberry.enum_value("mean_duration", description="How long those took on average.")
    LAST_USED = strawberry.enum_value("last_used", description="When something was last made of it.")


@strawberry.input(description="The order of templates; equals are told apart by id.")
class TemplateOrder:
    field: TemplateOrderField = described("By what.", TemplateOrderField.NAME)
    direction: Direction = described("Which way.", Direction.ASC)


ORDER_TEXT = "In this order; by name without one."
