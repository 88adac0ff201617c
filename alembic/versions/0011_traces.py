"""Which trace an execution or a generation is part of: a worker goes on in the one that the request for it began."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

TABLES = ("execution", "generation")


def upgrade() -> None:
    for table in TABLES:
        op.add_column(table, sa.Column("trace_parent", sa.Text()))


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_column(table, "trace_parent")
