"""Where Regatta's time for the dashboard goes, in one process without HTTP: each step is what its absence saves.

The engine answers the query with the real pool, then with the rows of an earlier answer in place of the pool, then
with the things of an earlier answer in place of the reader. The differences are the driver and the making of things.
"""

import gc
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from graphql import parse, validate

from app.graphql import encode
from benchmarks._dashboard_data import DASHBOARD
from domain.model.identity import DEFAULT_TENANT
from domain.ports import Reader
from persistence.engine import Database
from persistence.reader import SqlReader
from resolvers.context import Context
from resolvers.node_ids import node_id
from schema.schema import build

FIRST_TIME_ONLY: Final = "parse and validate (the first time only, then remembered)"


class _Replayed:
    """Answers a call like the first one of its arguments, without doing it again."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self._answers: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def replay(*arguments: Any) -> Any:
            key = f"{name}{arguments}"
            if key not in self._answers:
                self._answers[key] = await getattr(self._real, name)(*arguments)
            return self._answers[key]

        return replay


class _KeptRows(SqlReader):
    """Asks the database once; its own work, the making of things, is done every time."""

    def __init__(self, pool: Any) -> None:
        super().__init__(pool)
        self._kept: dict[str, Any] = {}

    async def _rows(self, statement: str, *arguments: Any) -> Any:
        if statement not in self._kept:
            self._kept[statement] = await super()._rows(statement, *arguments)
        return self._kept[statement]


async def split(url: str, project_id: Any, times: int) -> Mapping[str, float]:
    """CPU milliseconds of this process per query, by step."""
    database = await Database.connect(url, name="split", pool_size=10)
    engine = build()
    schema = engine._schema  # noqa: SLF001 - the plain schema, to parse and check against
    variables = {"project": node_id("Project", project_id)}

    async def ask(reader: Reader) -> Any:
        services: Any = None  # a query needs none
        return await engine.execute(DASHBOARD, variables, Context(DEFAULT_TENANT, None, services, reader))

    real, rows = SqlReader(database.pool), _KeptRows(database.pool)
    things: Any = _Replayed(real)
    data = (await ask(real)).data
    gc.collect()
    gc.freeze()  # as `regatta serve` does
    with_collector = await _cpu_ms(lambda: ask(real), times)
    gc.disable()
    whole = await _cpu_ms(lambda: ask(real), times)
    without_driver = await _cpu_ms(lambda: ask(rows), times)
    executor = await _cpu_ms(lambda: ask(things), times)
    gc.enable()
    gc.unfreeze()
    await database.close()
    return {
        FIRST_TIME_ONLY: _cpu_ms_of(lambda: validate(schema, parse(DASHBOARD)), times),
        "PostgreSQL's driver: requests, rows decoded": whole - without_driver,
        "rows to things of the domain": without_driver - executor,
        "executor: levels, fields, answer": executor,
        "garbage collector": with_collector - whole,
        "encode as JSON": _cpu_ms_of(lambda: encode({"data": data}), times),
    }


async def _cpu_ms(work: Callable[[], Awaitable[Any]], times: int) -> float:
    await work()
    began = time.process_time()
    for _ in range(times):
        await work()
    return (time.process_time() - began) / times * 1000


def _cpu_ms_of(work: Callable[[], Any], times: int) -> float:
    began = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - began) / times * 1000
