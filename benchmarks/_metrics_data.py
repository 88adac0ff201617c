"""A month of work in the tables, made by the server itself: teams, executions, three tasks each, model calls."""

from dataclasses import dataclass
from typing import Any, Final

import asyncpg

TEAMS: Final = 20
ROLES: Final = 3
DAYS: Final = 30
CALLS_PER_TASK: Final = 5

_TEAMS: Final = f"""
    INSERT INTO project (tenant_id, id, name, description, version, created_at, updated_at)
    SELECT $1, gen_random_uuid(), 'Benchmark', '', 1, now(), now();
    INSERT INTO team (tenant_id, id, project_id, name, description, process, max_iterations, execution_timeout_seconds,
        task_timeout_seconds, max_parallel_tasks, when_busy, oversight, is_cached, version, created_at, updated_at)
    SELECT $1, gen_random_uuid(), (SELECT id FROM project WHERE name = 'Benchmark'), 'Team ' || number, '',
        (ARRAY['SEQUENTIAL', 'PARALLEL'])[1 + number % 2], 5, 1800, 600, 4, 'PARALLEL', 'STANDARD', false, 1, now(),
        now()
    FROM generate_series(1, {TEAMS}) AS number;
    INSERT INTO team_revision (tenant_id, id, team_id, number, content, content_hash, created_at)
    SELECT tenant_id, gen_random_uuid(), id, 1, json_build_object('team', json_build_object('process', process))::text,
        id::text, now()
    FROM team WHERE project_id = (SELECT id FROM project WHERE name = 'Benchmark');
    INSERT INTO role (tenant_id, id, team_id, title, description, expertise, goals, backstory, temperature,
        model_parameters, skills, rank, is_delegation_allowed, delegates_to, delegation_kinds, can_ask, is_active,
        position, version, created_at, updated_at)
    SELECT team.tenant_id, gen_random_uuid(), team.id, 'Role ' || number, '', 'SENIOR', '{{}}', '', 0.7, '{{}}', '{{}}',
        'SPECIALIST', false, 'SUBORDINATES', '{{}}', false, true, number, 1, now(), now()
    FROM team CROSS JOIN generate_series(1, {ROLES}) AS number
    WHERE project_id = (SELECT id FROM project WHERE name = 'Benchmark');
"""  # noqa: S608 - constants
_EXECUTIONS: Final = f"""
    INSERT INTO execution (tenant_id, id, project_id, team_id, revision_id, status, inputs, max_iterations,
        execution_timeout_seconds, task_timeout_seconds, quality_preference, priority, max_parallel_tasks, created_at,
        started_at, finished_at, waited_seconds)
    SELECT $1, gen_random_uuid(), team.project_id, team.id, team_revision.id,
        CASE WHEN random() < 0.93 THEN 'COMPLETED' WHEN random() < 0.7 THEN 'FAILED' ELSE 'CANCELLED' END, '{{}}', 5,
        1800, 600, 'BALANCED', 5, 4, moment - make_interval(secs => wait + length),
        moment - make_interval(secs => length), moment, 0
    FROM (
        SELECT number % {TEAMS} AS place, now() - make_interval(secs => {DAYS} * 86400 * random()) AS moment,
            exp(random() * 3) AS wait, exp(2 + random() * 4) AS length
        FROM generate_series(1, $2) AS number
    ) AS made
    JOIN (SELECT *, row_number() OVER (ORDER BY id) - 1 AS place FROM team) AS team USING (place)
    JOIN team_revision ON team_revision.team_id = team.id
"""  # noqa: S608 - constants
_TASKS: Final = f"""
    INSERT INTO task_execution (tenant_id, id, execution_id, position, name, description, expected_output, role_id,
        role_title, kind, role_reason, is_approval_required, approval_default, waits_for, max_attempts,
        quality_preference, attempts, status, model, created_at, started_at, finished_at)
    SELECT run.tenant_id, gen_random_uuid(), run.id, role.position, 'Task', '', '', role.id, role.title, 'GENERAL', '',
        false, 'REJECT', '{{}}', 2, 'BALANCED', 1 + (random() < 0.1)::int,
        CASE WHEN run.status = 'COMPLETED' OR role.position < {ROLES} THEN 'COMPLETED' ELSE run.status END,
        'openai/gpt-4o-mini', run.created_at,
        run.started_at + (role.position - 1) * (run.finished_at - run.started_at) / {ROLES},
        run.started_at + role.position * (run.finished_at - run.started_at) / {ROLES}
    FROM execution AS run JOIN role ON role.team_id = run.team_id
"""  # noqa: S608 - constants
_ENTRIES: Final = f"""
    INSERT INTO ledger_entry (tenant_id, id, project_id, team_id, execution_id, task_execution_id, role_id, model,
        provider, attempt, outcome, prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens, token_source,
        cost, latency_seconds, call, period, booked_at)
    SELECT done.tenant_id, gen_random_uuid(), run.project_id, run.team_id, run.id, done.id, done.role_id,
        (ARRAY['openai/gpt-4o-mini', 'openai/gpt-4o', 'anthropic/claude-sonnet-4-5'])[1 + number % 3], 'openai',
        done.attempts, CASE WHEN random() < 0.98 THEN 'SUCCEEDED' ELSE 'FAILED' END, (500 + random() * 3000)::int,
        (100 + random() * 900)::int, 0, 0, 'PROVIDER', round((random() / 100)::numeric, 12), exp(random() * 3), number,
        date_trunc('month', done.finished_at)::date, done.finished_at
    FROM task_execution AS done
    JOIN execution AS run ON run.tenant_id = done.tenant_id AND run.id = done.execution_id
    CROSS JOIN generate_series(1, {CALLS_PER_TASK}) AS number
"""  # noqa: S608 - constants
_PENDING: Final = """
    INSERT INTO metric_pending (tenant_id, subject, subject_id, at)
    SELECT tenant_id, 'EXECUTION', id, finished_at FROM execution
    UNION ALL SELECT tenant_id, 'TASK', id, finished_at FROM task_execution
    UNION ALL SELECT tenant_id, 'CALL', id, booked_at FROM ledger_entry
    ORDER BY 4
"""


@dataclass(frozen=True, slots=True)
class Made:
    """How much there is."""

    executions: int
    tasks: int
    entries: int


async def made(owner: "asyncpg.Connection[Any]", tenant_id: Any, executions: int) -> Made:
    """Fill an empty database as its owner. Triggers and foreign keys sleep: what they would do is done at the end."""
    await owner.execute("SET statement_timeout = 0")
    await owner.execute("SET session_replication_role = replica")
    for statement in _TEAMS.split(";")[:-1]:
        wanted = [tenant_id] if "$1" in statement else []
        await owner.execute(statement, *wanted)
    await owner.execute(_EXECUTIONS, tenant_id, executions, timeout=3600)
    await owner.execute(_TASKS, timeout=3600)
    await owner.execute(_ENTRIES, timeout=3600)
    await owner.execute(_PENDING, timeout=3600)
    await owner.execute("SET session_replication_role = origin")
    await owner.execute("VACUUM ANALYZE", timeout=3600)
    row = await owner.fetchrow(
        "SELECT (SELECT count(*) FROM execution), (SELECT count(*) FROM task_execution),"
        " (SELECT count(*) FROM ledger_entry)"
    )
    return Made(*row)
