"""What tables are made of: every row has its tenant, every foreign key carries it, every constraint has a name."""

from enum import Enum

from sqlalchemy import (
    CheckConstraint,
    Column,
    DateTime,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    Uuid,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Moment = DateTime(timezone=True)
Amount = Numeric(24, 12)


def owned(*keys: str) -> list[Column[object]]:
    return [Column(key, Uuid, nullable=False) for key in ("tenant_id", *keys)]


def record() -> list[Column[object]]:
    """What every thing that people edit has."""
    return [
        Column("version", Integer, nullable=False),
        Column("created_at", Moment, nullable=False),
        Column("updated_at", Moment, nullable=False),
        Column("created_by", Uuid),
        Column("archived_at", Moment),
    ]


def key(*columns: str) -> PrimaryKeyConstraint:
    return PrimaryKeyConstraint("tenant_id", *(columns or ("id",)))


def to(target: str, column: str) -> ForeignKeyConstraint:
    """A reference within the tenant."""
    return ForeignKeyConstraint(["tenant_id", column], [f"{target}.tenant_id", f"{target}.id"])


def one_of(column: str, values: type[Enum]) -> CheckConstraint:
    listed = ", ".join(f"'{member.value}'" for member in values)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


def name_within(table: str, scope: str, column: str = "name") -> Index:
    """Names are unique among what is not archived; `persistence/errors.py` knows the index by this name."""
    return Index(
        f"uq_{table}_name", "tenant_id", scope, column, unique=True, postgresql_where=text("archived_at IS NULL")
    )
