import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from app.settings import Settings
from app.worker import default_name, runner_over
from domain.errors import FailureCode, RunFailed
from domain.model.tool import Tool, ToolKind
from domain.ports import TaskWork
from tests.support.model_server import ModelServer, Silence, Text
from tests.support.routes import EndlessBudgets
from tests.unit.crew.conftest import Journal


@pytest.mark.usefixtures("client")
async def test_a_model_call_takes_no_longer_than_the_setting_says(
    server: ModelServer, a_work: Callable[..., TaskWork], journal: Journal
) -> None:
    server.default = Silence()

    async with runner_over(Settings(model_timeout_seconds=0.25), EndlessBudgets()) as runner:
        with pytest.raises(RunFailed) as caught:
            await runner.run(a_work(), journal)

    assert caught.value.code is FailureCode.MODEL_UNAVAILABLE
    assert caught.value.message == "The model 'openai/gpt-4o-mini' did not answer within 0.25 seconds."


@pytest.mark.usefixtures("client")
async def test_the_worker_permits_the_arguments_of_the_setting_and_no_others(
    server: ModelServer, a_work: Callable[..., TaskWork], a_tool: Callable[..., Tool], journal: Journal
) -> None:
    server.script(Text("Done."))
    tool = a_tool(ToolKind.CREWAI_TOOL, class_name="SerperDevTool", arguments={"n_results": 3, "base_url": "x"})

    async with runner_over(Settings(crewai_tools=("SerperDevTool:n_results+country",)), EndlessBudgets()) as runner:
        with pytest.raises(RunFailed, match="the argument 'base_url' is not allowed on this server"):
            await runner.run(a_work(tools=[tool]), journal)


@pytest.mark.usefixtures("client")
async def test_a_model_of_a_local_server_is_called_by_the_worker_s_own_client(
    server: ModelServer, a_work: Callable[..., TaskWork], journal: Journal
) -> None:
    server.script(Text("Fine."))

    async with runner_over(Settings(), EndlessBudgets()) as runner:
        assert await runner.run(a_work(model="openai/my-own-model"), journal) == "Fine."

    [entry] = journal.entries
    assert (entry.provider, entry.model) == ("openai", "openai/my-own-model")


def test_a_worker_s_name_is_stable_and_shows_neither_machine_nor_directory(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "harbour")
    name = default_name(settings)

    assert name == default_name(settings)
    assert name not in {default_name(settings, 1), default_name(Settings(data_dir=tmp_path))}
    assert socket.gethostname() not in name
    assert "harbour" not in name
