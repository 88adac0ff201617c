"""Which template a team was made of: one answer for its origin, for metrics and for recommendations."""


def last_use(tenant_id: str, team_id: str) -> str:
    """A SELECT of the `template_use` that a team stands for, at most one row; both are expressions of SQL.

    That of its last generation, or of its making by hand; of several templates of one generation the first.
    """
    return f"""
        SELECT template_id, number, generation_id, created_at FROM (
            SELECT *, max(created_at) OVER (PARTITION BY generation_id) AS moment FROM template_use
            WHERE tenant_id = {tenant_id} AND team_id = {team_id} AND task_id IS NULL
        ) AS use
        ORDER BY moment DESC, created_at, id LIMIT 1
    """  # noqa: S608 - expressions of our own
