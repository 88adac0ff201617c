"""Regatta as it runs on many machines: API processes and nurseries of workers over one database and one model server.

Nothing here waits for a process to end well: all of it may be killed at any time, and what is left is killed at the
end.
"""

import contextlib
import itertools
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil
import psycopg
from psycopg.rows import dict_row

from resolvers.node_ids import parse_node_id
from tests.support.graphql import MUTATION_ERRORS
from tests.support.model_server import ModelServer
from tests.support.processes import REPOSITORY, SOON, environment, free_port, wait_until

MODEL: Final = "openai/gpt-4o-mini"  # has a price

_opener: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through one of the environment


@dataclass(slots=True)
class Started:
    """A process of ours, and all that it starts."""

    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """`kill -9` of it and of all its children, at once."""
        with contextlib.suppress(psutil.NoSuchProcess):
            family = psutil.Process(self.process.pid)
            for each in (family, *family.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()
        self.process.kill()
        self.process.wait()

    def said(self) -> str:
        return self.log.read_text(errors="replace")


@dataclass(slots=True)
class Workers(Started):
    """A `regatta worker --processes …`."""

    def each(self) -> list[psutil.Process]:
        """Those that are alive, in the order of their birth."""
        children: list[psutil.Process] = []
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.process.pid).children()
        return [child for child in children if _is_alive(child)]

    def named(self, name: str) -> psutil.Process:
        """The process of a worker that was ready."""
        pids = [line["pid"] for line in self._lines() if line.get("event") == "worker_ready" and line["worker"] == name]
        return psutil.Process(pids[-1])

    def ready(self) -> list[str]:
        """The names of those that were ready so far, one for each time."""
        return [line["worker"] for line in self._lines() if line.get("event") == "worker_ready"]

    def _lines(self) -> Iterator[Mapping[str, Any]]:
        for line in self.said().splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                yield json.loads(line)


def _is_alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


@dataclass(slots=True)
class Api(Started):
    """A `regatta serve --workers 0`."""

    port: int

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The JSON at a path; with a body it is posted. Raises OSError when nobody answers well."""
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"{self.address}{path}", data, {"Content-Type": "application/json"})  # noqa: S310 - our own server
        with _opener.open(request, timeout=SOON) as answer:
            return json.load(answer)

    def ask(self, query: str, /, **variables: Any) -> Any:
        """The data of an operation. Raises OSError when nobody answers, AssertionError when it is refused."""
        answer = self.get("/graphql", {"query": query, "variables": variables})
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    def mutate(self, name: str, selection: str, /, **values: Any) -> Any:
        """The payload of a mutation that has to be accepted."""
        kind = f"{name[0].upper()}{name[1:]}Input"
        query = f"mutation($input: {kind}!) {{ {name}(input: $input) {{ {selection} {MUTATION_ERRORS} }} }}"
        payload = self.ask(query, input=values)[name]
        assert payload["errors"] == [], payload["errors"]
        return payload

    def make(self, kind: str, /, **values: Any) -> str:
        """The id of a new thing."""
        identifier: str = self.mutate(f"create{kind}", f"{kind.lower()} {{ id }}", **values)[kind.lower()]["id"]
        return identifier

    def team(self, *tasks: str, tool: bool = False, **last: Any) -> str:
        """A new team of one role that does these tasks in their order; `last` are fields of the last one."""
        number = next(_numbers)
        project_id = self.make("Project", name=f"Project {number}")
        tools = [self.make("Tool", projectId=project_id, name="Sums", kind="CALCULATOR")] if tool else []
        team_id = self.make("Team", projectId=project_id, name=f"Team {number}")
        role_id = self.make("Role", teamId=team_id, title="Analyst", toolIds=tools)
        before: list[str] = []
        for name in tasks:
            given = last if name == tasks[-1] else {}
            before = [
                self.make(
                    "Task",
                    teamId=team_id,
                    name=name,
                    description=f"Do {name} of run {{run}}.",
                    expectedOutput="A line.",
                    roleId=role_id,
                    dependsOn=before,
                    **given,
                )
            ]
        return team_id

    def kickoff(self, team_id: str, run: str = "one", **values: Any) -> str:
        """The id of a new execution, beside all others of the team."""
        given = {"teamId": team_id, "inputs": {"run": run}, "whenBusy": "PARALLEL", **values}
        identifier: str = self.mutate("kickoffTeam", "execution { id }", **given)["execution"]["id"]
        return identifier

    def status(self, execution_id: str) -> str:
        status: str = self.ask("query($id: ID!) { execution(id: $id) { status } }", id=execution_id)["execution"][
            "status"
        ]
        return status

    def wait_for(self, execution_id: str, *statuses: str) -> str:
        """Wait until it has one of these; which."""
        wait_until(lambda: self.status(execution_id) in statuses)
        return self.status(execution_id)


_numbers = itertools.count(1)


@dataclass(slots=True)
class Cluster:
    """Processes over one database; `settings` hold for all of them, by their short names."""

    url: str
    directory: Path
    models: ModelServer
    settings: Mapping[str, str] = field(default_factory=dict)
    _started: list[Started] = field(default_factory=list)

    def api(self, port: int | None = None) -> Api:
        """An API process that answers."""
        port = port or free_port()
        process, log = self._begin(["serve", "--workers", "0", "--port", str(port)])
        api = Api(process, log, port)
        self._started.append(api)

        def answers() -> bool:
            assert api.is_running, api.said()
            return bool(api.get("/health/live") == {"status": "alive"})

        wait_until(answers)
        return api

    def workers(self, count: int, name: str = "w", code: Path = REPOSITORY, **settings: str) -> Workers:
        """So many workers of that name; they need seconds to be ready. `code` is where theirs is."""
        command = ["worker", "--processes", str(count), "--name", name]
        workers = Workers(*self._begin(command, code, **settings))
        self._started.append(workers)
        return workers

    def kill(self) -> None:
        """`kill -9` of everything."""
        for each in self._started:
            each.kill()

    def rows(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        """What the database answers its owner."""
        with psycopg.connect(self.url, autocommit=True, row_factory=dict_row) as connection:
            return connection.execute(statement, values).fetchall()

    def told(self) -> str:
        """The ends of all logs, for whoever looks for the cause of a failure."""
        return "\n".join(f"{each.log.name}: {each.said()[-3000:]}" for each in self._started)

    def _begin(
        self, command: Sequence[str], code: Path = REPOSITORY, **settings: str
    ) -> tuple["subprocess.Popen[bytes]", Path]:
        log = self.directory / f"{len(self._started)}-{command[0]}.log"
        given = {
            "database_url": self.url,
            "data_dir": str(self.directory / "data"),
            "model": MODEL,
            "log_format": "json",
            "worker_max_cpu_percent": "100",
            "worker_max_memory_percent": "100",
            "worker_silent_seconds": "60",  # who is only slow is not dead; who is killed is replaced at once
            **self.settings,
            **settings,
        }
        keys = {"OPENAI_API_BASE": self.models.url, "OPENAI_API_KEY": "sk-secret"}
        with log.open("wb") as file:
            process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-m", "app.cli", *command],
                env={**environment(**given), **keys},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                cwd=code,
                start_new_session=True,
            )
        return process, log


@contextlib.contextmanager
def a_cluster(url: str, directory: Path, models: ModelServer, **settings: str) -> Iterator[Cluster]:
    """Killed at the end."""
    cluster = Cluster(url, directory, models, settings)
    try:
        yield cluster
    except BaseException:
        sys.stderr.write(cluster.told())
        raise
    finally:
        cluster.kill()


def uuid_of(identifier: str) -> Any:
    """What a global id names."""
    return parse_node_id(identifier)[1]
