"""The data of a first start: a project with one real team, made through the graph."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

PROJECT: Final = "Harbour"
TEAM: Final = "Launch team"
INPUTS: Final[Mapping[str, str]] = {
    "product": "Tidemark, an app that plans a day on the water around tide and weather",
    "audience": "weekend sailors and kayakers who do not read tide tables",
}
"""What the demo launches."""

Ask = Callable[[str, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
"""Carries out an operation with these variables; returns its data, and raises when the graph reports errors."""


class SeedRefused(Exception):
    """A mutation of the seed was refused; the text says which and why."""


@dataclass(frozen=True, slots=True)
class _Role:
    title: str
    expertise: str
    description: str
    goals: Sequence[str]
    backstory: str


@dataclass(frozen=True, slots=True)
class _Task:
    """Done by the role of that title, after the tasks of those names."""

    name: str
    role: str
    description: str
    expected_output: str
    depends_on: Sequence[str] = ()


ROLES: Final = (
    _Role(
        "Market analyst",
        "SENIOR",
        "Finds out who will buy, what they use today and what they pay for it.",
        ["Describe the market so that a strategy can be built on it", "Mark every guess as a guess"],
        "Ten years of consumer research. Writes short, quotes numbers with their source, and says what nobody knows.",
    ),
    _Role(
        "Launch strategist",
        "EXPERT",
        "Turns what is known about a market into one position, three messages and a calendar.",
        ["Choose one position and defend it", "Plan a launch that a team of five can carry out"],
        "Has launched a dozen products on small budgets. Prefers one channel done well to five done badly.",
    ),
    _Role(
        "Copywriter",
        "INTERMEDIATE",
        "Writes what people read: headlines, pages, mails.",
        ["Write for readers in their own words", "Say what the product does before saying how good it is"],
        "Came from journalism. Cuts every adjective that does no work.",
    ),
)

TASKS: Final = (
    _Task(
        "Market analysis",
        "Market analyst",
        "Analyse the market for {product}. Who among {audience} needs it most, what do they use today, what does it"
        " cost them in money and trouble, and what would make them change? Name the three closest competitors.",
        "One page: target segment, three competitors with strength and weakness, the strongest unmet need, open"
        " questions.",
    ),
    _Task(
        "Launch plan",
        "Launch strategist",
        "From the market analysis, write the launch plan for {product}: one positioning sentence, three messages for"
        " {audience}, the channel to start with and why, and a calendar of six weeks with one goal per week.",
        "A plan with the sections Position, Messages, Channel, Calendar, and the number by which week six is judged.",
        ("Market analysis",),
    ),
    _Task(
        "Launch page",
        "Copywriter",
        "Write the launch page for {product} along the launch plan: headline, subheading, three short paragraphs, one"
        " for each message, and a call to action. Speak to {audience}.",
        "The finished text of the page in Markdown, ready to publish, at most 250 words.",
        ("Market analysis", "Launch plan"),
    ),
)

_FIND: Final = """
query SeedFind($project: String!, $team: String!) {
  tenant { projects(first: 1, filter: {name: {eq: $project}}) { nodes {
    id
    teams(first: 1, filter: {name: {eq: $team}}) { nodes { id roles { id title } tasks { id name } } }
  } } }
}
"""


async def ensure_seed(ask: Ask) -> str:
    """Find or make the project with its team, completing what an interrupted run left; returns the team's id.

    Raises:
        SeedRefused: a mutation was refused.
    """
    found = await ask(_FIND, {"project": PROJECT, "team": TEAM})
    (project,) = found["tenant"]["projects"]["nodes"] or [None]
    if project is None:
        project = await _create(ask, "Project", name=PROJECT, description="A first project, to look around in.")
    (team,) = project.get("teams", {}).get("nodes") or [None]
    if team is None:
        team = await _create(ask, "Team", projectId=project["id"], name=TEAM, description="Launches a product.")
    await _complete(ask, team)
    return str(team["id"])


async def _complete(ask: Ask, team: Mapping[str, Any]) -> None:
    roles = {role["title"]: role["id"] for role in team.get("roles", ())}
    tasks = {task["name"]: task["id"] for task in team.get("tasks", ())}
    for position, role in enumerate(ROLES):
        if role.title not in roles:
            roles[role.title] = await _create_role(ask, team["id"], position, role)
    for position, task in enumerate(TASKS):
        if task.name not in tasks:
            tasks[task.name] = await _create_task(ask, team["id"], position, task, roles, tasks)


async def _create_role(ask: Ask, team_id: str, position: int, role: _Role) -> str:
    made = await _create(
        ask,
        "Role",
        teamId=team_id,
        position=position,
        title=role.title,
        expertise=role.expertise,
        description=role.description,
        goals=list(role.goals),
        backstory=role.backstory,
    )
    return str(made["id"])


async def _create_task(
    ask: Ask, team_id: str, position: int, task: _Task, roles: Mapping[str, str], tasks: Mapping[str, str]
) -> str:
    made = await _create(
        ask,
        "Task",
        teamId=team_id,
        position=position,
        name=task.name,
        description=task.description,
        expectedOutput=task.expected_output,
        roleId=roles[task.role],
        dependsOn=[tasks[name] for name in task.depends_on],
    )
    return str(made["id"])


async def _create(ask: Ask, kind: str, **fields: Any) -> Mapping[str, Any]:
    operation = f"create{kind}"
    document = (
        f"mutation Seed{kind}($input: Create{kind}Input!)"
        f" {{ {operation}(input: $input) {{ {kind.lower()} {{ id }} errors {{ message }} }} }}"
    )
    payload = (await ask(document, {"input": fields}))[operation]
    if payload["errors"]:
        raise SeedRefused(f"{operation}: {payload['errors'][0]['message']}")
    made: Mapping[str, Any] = payload[kind.lower()]
    return made
