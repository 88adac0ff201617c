"""The audit has no gap: a table that is changed by mutations has its trigger, or a reason to have none."""

from typing import Any

import psycopg
import pytest
from sqlalchemy import LargeBinary
from sqlalchemy.types import TypeEngine

from persistence.tables import Amount, metadata
from persistence.urls import plain_url
from schema.schema import build

EXCEPTIONS = {
    **dict.fromkeys(("worker", "worker_loss", "provider_limit"), "infrastructure of no tenant, written by workers"),
    **dict.fromkeys(("call_journal", "refinement_pass"), "written by workers"),
    **dict.fromkeys(("metric_pending", "metric_rollup"), "sums over what happened, written by triggers and workers"),
    **dict.fromkeys(("budget_account", "call_reservation"), "sums over the ledger, and what is reserved of them"),
    **dict.fromkeys(("execution_event", "ledger_entry"), "append-only histories of their own"),
    **dict.fromkeys(("execution_sequence", "admission", "admission_turn"), "how executions get to workers"),
    "team_revision": "what a team was at a kickoff, kept as it is",
    "template_use": "which team was made of which template: the team has its entry",
    "idempotency_key": "what was answered before, for a day",
    "audit_entry": "the audit itself",
}
"""Tables without a trigger, and why."""

TRIGGERS = """
    SELECT tgrelid::regclass::text, string_to_array(encode(tgargs, 'escape'), '\\000'), pg_get_triggerdef(oid)
    FROM pg_trigger WHERE tgname = 'audit' AND tgenabled = 'O'
"""


@pytest.fixture
def triggers(database_url: str) -> dict[str, tuple[list[str], str]]:
    """By table: the arguments of its trigger, and its definition."""
    with psycopg.connect(plain_url(database_url)) as connection:
        return {table: (arguments, text) for table, arguments, text in connection.execute(TRIGGERS).fetchall()}


def test_every_table_is_audited_or_has_a_reason_not_to_be(triggers: dict[str, tuple[list[str], str]]) -> None:
    assert set(triggers) | EXCEPTIONS.keys() == set(metadata.tables)
    assert not set(triggers) & EXCEPTIONS.keys()


def test_every_trigger_looks_whether_a_mutation_asks_before_it_does_anything(
    triggers: dict[str, tuple[list[str], str]],
) -> None:
    for table, (_, text) in triggers.items():
        assert "current_setting('regatta.operation'::text, true) <> ''::text" in text, table


def test_what_is_named_as_an_object_or_left_out_is_there(triggers: dict[str, tuple[list[str], str]]) -> None:
    kinds = build()._schema.type_map  # noqa: SLF001 - graphql-core's schema, which Strawberry has no name for
    for table, ([kind, key, _, *withheld, _], _) in triggers.items():
        assert kind in kinds, table
        assert {key, *withheld} <= set(metadata.tables[table].c.keys()), table


def test_no_ciphertext_gets_into_the_audit(triggers: dict[str, tuple[list[str], str]]) -> None:
    ciphertexts = {(table, name) for table in triggers for name in _columns(table, LargeBinary)}

    assert ciphertexts == {("credential", "ciphertext"), ("webhook_secret", "ciphertext")}
    assert all(name in triggers[table][0][3:] for table, name in ciphertexts)


def test_every_amount_is_told_exactly(triggers: dict[str, tuple[list[str], str]], database_url: str) -> None:
    with psycopg.connect(plain_url(database_url)) as connection:
        row = connection.execute("SELECT prosrc FROM pg_proc WHERE proname = 'audit_value'").fetchone()

    assert row is not None
    for table in triggers:
        for name in _columns(table, type(Amount)):
            assert f"'{name}'" in row[0], (table, name)


def _columns(table: str, kind: type[TypeEngine[Any]]) -> list[str]:
    return [column.name for column in metadata.tables[table].c if type(column.type) is kind]
