"""Use cases that say something of a team, or of an objective, before anything is run: nothing is written or paid.

Each asks the catalogue once and the store a number of times that does not grow with the team. What is reckoned with
a whole team takes up to a tenth of a second, and is done in a thread.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from domain.errors import Invalid
from domain.model.analysing import analyse
from domain.model.analysis import ObjectiveAnalysis
from domain.model.blueprint import (
    MOST_PARTS,
    Blueprint,
    TaskBlueprint,
    blueprint_of,
    new_tool,
    snapshot_of,
    titles_of,
    with_tools,
)
from domain.model.estimate import Estimate, SuccessEstimate
from domain.model.estimating import Terms, estimate_of, estimate_with_plan
from domain.model.findings import (
    Facts,
    ToolRules,
    broken_constraints,
    broken_rules,
    findings_of,
    skills_of,
    success_of,
    too_long,
    unlisted_models,
)
from domain.model.generation import Constraints, check_objective
from domain.model.history import TeamHistory
from domain.model.identity import ProjectId, TaskId, TeamId, TenantId, new_id
from domain.model.library import shipped_templates
from domain.model.matching_scores import Outcomes, by_skill, needs_of, score_role
from domain.model.revision import TeamSnapshot
from domain.model.role import Role
from domain.model.routing import Offer, QualityPreference
from domain.model.rules import Rules
from domain.model.skill import RoleMatch, Skill
from domain.model.skills_catalogue import skills
from domain.model.task import Task, TaskDependency
from domain.model.team import Team
from domain.model.tool import RoleTool, Tool
from domain.model.validation import Finding, FindingCode, Validation
from domain.model.wording import terms_of, wording_of
from domain.ports import ModelCatalogue, Reader
from domain.ports.histories import Histories

MOST_SKILLS: Final = 100
"""So many skills a list of them has at most."""

MOST_SEARCHED: Final = 200
"""So many characters has what a skill is searched for by."""

_ABOUT_CONSTRAINTS: Final = frozenset(
    {
        FindingCode.TOO_MANY_ROLES,
        FindingCode.EXPERTISE_TOO_HIGH,
        FindingCode.TOOL_NOT_ALLOWED,
        FindingCode.OVER_BUDGET,
    }
)
"""Errors with which a team could still be run."""

Weigh = Callable[[int], None]
"""Is told how many roles and tasks a team that was read has, before anything is made of it; may raise."""


def _freely(parts: int) -> None:
    del parts


@dataclass(frozen=True, slots=True)
class AssessmentRules:
    """What the deployment decides: see `Terms` and `ToolRules`."""

    default_model: str | None = None
    max_output_tokens: int = 4096
    tools: ToolRules = field(default_factory=ToolRules)


@dataclass(frozen=True, slots=True)
class StoredTeam:
    """A team as it is now, and the names of the archived tools that its roles were given."""

    snapshot: TeamSnapshot
    archived: Sequence[str]

    @property
    def team(self) -> Team:
        return self.snapshot.team

    @property
    def parts(self) -> int:
        return len(self.snapshot.roles) + len(self.snapshot.tasks)

    @property
    def tools(self) -> Mapping[str, Tool]:
        return {tool.name: tool for tool in self.snapshot.tools}


@dataclass(frozen=True, slots=True)
class _Ground:
    """What a team is assessed on; `tools` None: it is in no project yet."""

    offers: Sequence[Offer]
    history: TeamHistory | None
    tools: Mapping[str, Tool] | None
    archived: Sequence[str] = ()


class AssessTeam:
    """Findings and estimates. All raise Unavailable while the store does not answer."""

    def __init__(
        self,
        reader: Reader,
        catalogue: ModelCatalogue,
        histories: Histories,
        rules: AssessmentRules = AssessmentRules(),
    ) -> None:
        self.reader = reader
        self.catalogue = catalogue
        self.histories = histories
        self.rules = rules

    async def validate(
        self,
        tenant_id: TenantId,
        blueprint: Blueprint,
        *,
        team_id: TeamId | None = None,
        project_id: ProjectId | None = None,
        constraints: Constraints | None = None,
    ) -> Validation:
        """All that is found about a proposal; whatever is wrong with it is a finding, not an error.

        `project_id` is where its tools are looked for, None: nowhere. `team_id` names the team it would change, whose
        past counts for tasks of the same names.
        """
        blueprint = await self._completed(tenant_id, blueprint, project_id)
        broken = await asyncio.to_thread(broken_rules, blueprint)
        if broken:
            return Validation([*broken, *broken_constraints(blueprint, constraints)])
        ground = await self._ground(tenant_id, blueprint, team_id, project_id)
        return await self._validation(tenant_id, blueprint, ground, team_id, constraints)

    async def validate_team(
        self, tenant_id: TenantId, team_id: TeamId, constraints: Constraints | None = None, *, weigh: Weigh = _freely
    ) -> Validation | None:
        """The same of a team as it is now; None for an unknown one."""
        stored = await stored_team(self.reader, tenant_id, team_id)
        if stored is None:
            return None
        weigh(stored.parts)
        blueprint = blueprint_of(stored.snapshot)
        ground = await self._ground_of(tenant_id, blueprint, stored)
        return await self._validation(tenant_id, blueprint, ground, team_id, constraints)

    async def estimate_team(
        self,
        tenant_id: TenantId,
        team_id: TeamId,
        *,
        inputs: Mapping[str, Any] | None = None,
        quality: QualityPreference | None = None,
        weigh: Weigh = _freely,
    ) -> Estimate | None:
        """What an execution of the team as it is would take; None for an unknown one. Raises Invalid for bad inputs."""
        _check_inputs(inputs)
        stored = await stored_team(self.reader, tenant_id, team_id)
        if stored is None:
            return None
        weigh(stored.parts)
        blueprint = blueprint_of(stored.snapshot)  # by names, as its past is told
        ground = await self._ground_of(tenant_id, blueprint, stored)
        snapshot = _snapshot(tenant_id, blueprint, ground)
        return await asyncio.to_thread(estimate_of, snapshot, self._terms(ground, quality, inputs))

    def usable(self, tools: Sequence[Tool]) -> list[Tool]:
        """Those of the tools that can be used on this deployment."""
        return [tool for tool in tools if self.rules.tools.problem_of(tool.kind, tool.configuration) is None]

    # What it stands on.

    async def _completed(self, tenant_id: TenantId, blueprint: Blueprint, project_id: ProjectId | None) -> Blueprint:
        """The blueprint that also describes the project's tools that its roles name and it says nothing of."""
        missing = {name for role in blueprint.roles for name in role.tools} - {tool.name for tool in blueprint.tools}
        if project_id is None or not missing:
            return blueprint
        return with_tools(blueprint, await self.reader.tools_named(tenant_id, project_id, sorted(missing)[:MOST_PARTS]))

    async def _ground(
        self, tenant_id: TenantId, blueprint: Blueprint, team_id: TeamId | None, project_id: ProjectId | None
    ) -> _Ground:
        used = sorted({name for role in blueprint.roles for name in role.tools})
        offers, history, tools = await asyncio.gather(
            self._offers(tenant_id, blueprint),
            self._history(tenant_id, team_id),
            self._tools(tenant_id, project_id, used),
        )
        return _Ground(offers, history, tools)

    async def _ground_of(self, tenant_id: TenantId, blueprint: Blueprint, stored: StoredTeam) -> _Ground:
        offers, history = await asyncio.gather(
            self._offers(tenant_id, blueprint), self._history(tenant_id, stored.team.id)
        )
        named = None if history is None else _renamed(history, stored.snapshot)
        return _Ground(offers, named, stored.tools, stored.archived)

    async def _offers(self, tenant_id: TenantId, blueprint: Blueprint) -> Sequence[Offer]:
        """What can be had now; of models that the catalogue lacks, only the first that a role names is looked up."""
        named = [*unlisted_models(blueprint), *filter(None, [self.rules.default_model])]
        return await self.catalogue.offers(tenant_id, named[0] if named else None)

    async def _history(self, tenant_id: TenantId, team_id: TeamId | None) -> TeamHistory | None:
        return None if team_id is None else await self.histories.of_team(tenant_id, team_id)

    async def _tools(
        self, tenant_id: TenantId, project_id: ProjectId | None, names: Sequence[str]
    ) -> Mapping[str, Tool] | None:
        if project_id is None or not names:
            return None if project_id is None else {}
        return {tool.name: tool for tool in await self.reader.tools_named(tenant_id, project_id, names)}

    def _terms(
        self, ground: _Ground, quality: QualityPreference | None, inputs: Mapping[str, Any] | None = None
    ) -> Terms:
        return Terms(
            ground.offers,
            quality or QualityPreference.BALANCED,
            self.rules.default_model,
            self.rules.max_output_tokens,
            ground.history,
            inputs or {},
        )

    # What follows from it.

    async def _validation(
        self,
        tenant_id: TenantId,
        blueprint: Blueprint,
        ground: _Ground,
        team_id: TeamId | None,
        constraints: Constraints | None,
    ) -> Validation:
        try:
            found, estimate = await asyncio.to_thread(self._findings, tenant_id, blueprint, ground, constraints)
        except Invalid as error:  # no kickoff would be accepted either
            return Validation([too_long(problem.message) for problem in error.problems])
        success = await self._success(tenant_id, blueprint, found, ground.history, team_id)
        return Validation(found, estimate, success)

    def _findings(
        self, tenant_id: TenantId, blueprint: Blueprint, ground: _Ground, constraints: Constraints | None
    ) -> tuple[list[Finding], Estimate | None]:
        """What is found, and what an execution would take where there could be one. Raises Invalid as estimates do."""
        snapshot = _snapshot(tenant_id, blueprint, ground)
        quality = constraints.quality_preference if constraints else None
        estimate, planned = estimate_with_plan(snapshot, self._terms(ground, quality))
        facts = Facts(
            snapshot,
            planned,
            estimate,
            ground.offers,
            self.rules.default_model,
            ground.tools,
            ground.archived,
            self.rules.tools,
            unlisted_models(blueprint)[1:],
            [skill.name for skill in skills()],
        )
        return findings_of(blueprint, facts, constraints), estimate if planned else None

    async def _success(
        self,
        tenant_id: TenantId,
        blueprint: Blueprint,
        found: Sequence[Finding],
        history: TeamHistory | None,
        team_id: TeamId | None,
    ) -> SuccessEstimate | None:
        """None where the team could not be run at all."""
        probe = Validation([finding for finding in found if finding.code not in _ABOUT_CONSTRAINTS])
        if not probe.is_valid:
            return None
        if history is not None and history.is_enough:
            return success_of(found, blueprint, history, None)
        similar = await self.histories.of_similar(tenant_id, skills_of(blueprint.roles), team_id)
        return success_of(found, blueprint, history, similar)


def _check_inputs(inputs: Mapping[str, Any] | None) -> None:
    rules = Rules()
    rules.document(inputs or {}, "inputs")
    rules.hold()


def _snapshot(tenant_id: TenantId, blueprint: Blueprint, ground: _Ground) -> TeamSnapshot:
    """The team that it would be: with the project's tools, and those that would be made."""
    nowhere = ProjectId(new_id())
    known = ground.tools or {}
    tools = {tool.name: known.get(tool.name) or new_tool(tool, tenant_id, nowhere) for tool in blueprint.tools}
    return snapshot_of(blueprint, tenant_id, nowhere, tools)


def _renamed(history: TeamHistory, snapshot: TeamSnapshot) -> TeamHistory:
    """The history with roles and tasks called as they are now: some may have been renamed, or share a title."""
    titles, names = titles_of(snapshot.roles), {task.id: task.name for task in snapshot.tasks}
    return replace(
        history,
        roles=[replace(role, title=titles[role.role_id]) for role in history.roles if role.role_id in titles],
        tasks=[replace(task, name=names[task.task_id]) for task in history.tasks if task.task_id in names],
    )


async def stored_team(reader: Reader, tenant_id: TenantId, team_id: TeamId) -> StoredTeam | None:
    """The team as it is now, in six statements; None for an unknown one."""
    team = (await reader.by_ids(Team, tenant_id, [team_id])).get(team_id)
    if team is None:
        return None
    order = ("position", "id")
    roles, tasks = await asyncio.gather(
        reader.children(Role, tenant_id, "team_id", [team_id], order),
        reader.children(Task, tenant_id, "team_id", [team_id], order),
    )
    own_roles, own_tasks = list(roles.get(team_id, ())), list(tasks.get(team_id, ()))
    role_ids, task_ids = [role.id for role in own_roles], [task.id for task in own_tasks]
    tools, waits, archived = await asyncio.gather(
        reader.tools_by_role(tenant_id, role_ids),
        reader.dependencies_by_task(tenant_id, task_ids),
        reader.archived_tools(tenant_id, role_ids),
    )
    known_tasks = set(task_ids)
    links = [RoleTool(tenant_id, role.id, tool.id) for role in own_roles for tool in tools.get(role.id, ())]
    needs = [
        TaskDependency(tenant_id, team_id, task.id, other.id)
        for task in own_tasks
        for other in waits.get(task.id, ())
        if other.id in known_tasks  # or it was added since the tasks were read
    ]
    known = {tool.id: tool for given in tools.values() for tool in given}
    return StoredTeam(TeamSnapshot(team, own_roles, own_tasks, needs, list(known.values()), links), archived)


# ---------------------------------------------------------------- skills


class ExplainMatches:
    """What objectives and tasks ask for, and who fits: scores with their reasons, by rules alone."""

    def __init__(self, reader: Reader, histories: Histories) -> None:
        self.reader = reader
        self.histories = histories

    async def analyse(
        self, tenant_id: TenantId, objective: str, constraints: Constraints | None = None
    ) -> ObjectiveAnalysis:
        """What the objective asks for. Raises Invalid for one that is empty or too long, and for bad constraints."""
        rules = Rules()
        check_objective(rules, objective, "objective")
        wanted = constraints or Constraints()
        try:
            wanted.check("constraints")
        except Invalid as error:
            rules.problems += error.problems
        rules.hold()
        outcomes = by_skill(await self.histories.skill_outcomes(tenant_id))
        return analyse(objective, wanted, skills(), shipped_templates(), outcomes)

    async def role_matches(
        self, tenant_id: TenantId, task_id: TaskId, *, weigh: Weigh = _freely
    ) -> Sequence[RoleMatch] | None:
        """How well each active role of its team fits the task, best first; None for an unknown task."""
        task = (await self.reader.by_ids(Task, tenant_id, [task_id])).get(task_id)
        stored = await stored_team(self.reader, tenant_id, task.team_id) if task else None
        if task is None or stored is None:
            return None
        weigh(stored.parts)
        outcomes = by_skill(await self.histories.skill_outcomes(tenant_id))
        team = blueprint_of(stored.snapshot)
        wanted = team.task(task.name)
        if wanted is None:  # archived: nobody does it any more
            return []
        return await asyncio.to_thread(_matches, team, wanted, outcomes)


def _matches(team: Blueprint, wanted: TaskBlueprint, outcomes: Outcomes) -> Sequence[RoleMatch]:
    kinds = {tool.name: tool.kind for tool in team.tools}
    needs = needs_of(wanted, skills())
    found = [
        RoleMatch(role.title, score_role(role, needs, outcomes, tool_kinds={kinds[name] for name in role.tools}))
        for role in team.roles
        if role.is_active
    ]
    return sorted(found, key=lambda one: -one.match.score)


def find_skills(search: str | None, domain: str | None, first: int) -> list[Skill]:
    """The skills of the catalogue by name: those of the domain, general ones too, that say every word of `search`.

    Raises Invalid where more are asked for than a list has.
    """
    rules = Rules()
    rules.between(first, 1, MOST_SKILLS, "first")
    rules.require(len(search or "") <= MOST_SEARCHED, f"At most {MOST_SEARCHED} characters.", "search")
    rules.text(search, "search")
    rules.text(domain, "domain")
    rules.hold()
    found = (skill for skill in skills() if _is_at_home(skill, domain) and _says(skill, search))
    return [skill for skill, _ in zip(found, range(first), strict=False)]


def _is_at_home(skill: Skill, domain: str | None) -> bool:
    return domain is None or not skill.domains or domain.strip().casefold() in map(str.casefold, skill.domains)


def _says(skill: Skill, search: str | None) -> bool:
    if not search:
        return True
    texts: Iterable[str] = (skill.name, skill.description, *skill.role_titles, *skill.keywords, *skill.task_kinds)
    line = wording_of("\n".join(texts)).line
    return all(term in line for term in terms_of(search))
