"""SQL behind ports: tables, unit of work, repositories, the event store."""
