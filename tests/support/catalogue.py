"""What decides whether a model can be used: workers with keys, cool-downs, and the tenant's own entries."""

from collections.abc import Sequence

from tests.support.graphql import Graph


async def a_worker(
    graph: Graph,
    providers: Sequence[str] = (),
    models: Sequence[str] = (),
    *,
    silent_seconds: float = -3600.0,
    is_local_silent: bool = False,
) -> None:
    """A worker that says that it can reach these; by default it is heard of all through the test."""
    await graph.container.database.pool.execute(
        "INSERT INTO worker (id, heartbeat_at, providers, models, free_providers, is_local_silent)"
        " VALUES (gen_random_uuid()::text, now() - make_interval(secs => $1), $2, $3, '{}', $4)",
        silent_seconds,
        list(providers),
        list(models),
        is_local_silent,
    )


async def a_cool_down(graph: Graph, credential: str, model: str, seconds: float = 60.0) -> None:
    """The model was in trouble with this credential, and is left alone for so long."""
    await graph.container.database.pool.execute(
        "INSERT INTO provider_limit (credential, model, cooling_until)"
        " VALUES ($1, $2, now() + make_interval(secs => $3))",
        credential,
        model,
        seconds,
    )
