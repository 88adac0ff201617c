"""What an import and an export give, with the account of what the other side has no place for."""

from dataclasses import dataclass

from domain.model.revision import TeamSnapshot

AGENTS = "agentsYaml"
TASKS = "tasksYaml"
TEAM = "team"
"""The file of what a team has and neither of CrewAI's files could hold."""

SHOWN = 80


@dataclass(frozen=True, slots=True)
class Unrepresented:
    """Something that the other side has no place for. `path` starts with the key of the agent or task."""

    file: str
    path: tuple[str, ...]
    value: str
    reason: str


@dataclass(frozen=True, slots=True)
class ImportedCrew:
    """A new team that keeps the domain's rules, and what its files said beyond it."""

    snapshot: TeamSnapshot
    unrepresented: list[Unrepresented]


@dataclass(frozen=True, slots=True)
class CrewFiles:
    """The texts of both files, and what of the team is not in them."""

    agents_yaml: str
    tasks_yaml: str
    unrepresented: list[Unrepresented]


def short(text: str) -> str:
    """One line of bounded length, to name or show a text of unknown length."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else f"{line[: SHOWN - 1]}…"
