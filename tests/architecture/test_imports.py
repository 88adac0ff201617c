"""Who may import whom, and what the API process does without."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def _loaded_by(statement: str) -> set[str]:
    """The top-level packages that a fresh interpreter has loaded after the statement."""
    program = f"{statement}\nimport sys\nprint(' '.join({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return set(done.stdout.split())


def test_an_api_process_loads_neither_crewai_nor_litellm() -> None:
    loaded = _loaded_by("import app.main")

    assert {"strawberry", "starlette", "asyncpg"} <= loaded
    assert loaded.isdisjoint({"crewai", "litellm", "openai", "crewai_tools", "opentelemetry"})


def test_the_command_line_is_there_before_anything_slow_is_loaded() -> None:
    loaded = _loaded_by("import app.cli")

    assert "typer" in loaded
    assert loaded.isdisjoint({"crewai", "litellm", "strawberry", "sqlalchemy", "dbos", "uvicorn"})


@pytest.mark.parametrize("package", ["domain.model", "domain.services", "domain.ports", "domain.events"])
def test_the_domain_loads_nothing_of_the_outside(package: str) -> None:
    imports = f"import pkgutil, importlib, {package}\nfor found in pkgutil.walk_packages("
    imports += f"getattr({package}, '__path__', []), '{package}.'): importlib.import_module(found.name)"

    assert _loaded_by(imports).isdisjoint(
        {"strawberry", "graphql", "sqlalchemy", "asyncpg", "starlette", "dbos", "broadcaster", "crewai", "litellm"}
    )


def test_the_contracts_of_the_packages_are_kept() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(  # noqa: S603 - our own program
        [linter, "--no-cache"], cwd=ROOT, check=False, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout
