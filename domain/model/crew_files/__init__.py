"""CrewAI's two files, `agents.yaml` and `tasks.yaml`: a team read from them, written to them, and what got lost.

Nothing is opened here: texts come in, texts go out. The shapes are those of crewai 1.15 (`crewai.project.crew_base`).
"""

from domain.model.crew_files.losses import AGENTS, TASKS, TEAM, CrewFiles, ImportedCrew, Unrepresented
from domain.model.crew_files.reading import parse_crew
from domain.model.crew_files.writing import render_crew

__all__ = ["AGENTS", "TASKS", "TEAM", "CrewFiles", "ImportedCrew", "Unrepresented", "parse_crew", "render_crew"]
