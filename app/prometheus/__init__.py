"""What Prometheus is told: one registry per process, names by its conventions, nothing of tenants unless asked for."""

from prometheus_client import disable_created_metrics

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, which nobody asks for
