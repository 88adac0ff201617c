"""What docs/observability and the compose file ask of Prometheus is what our processes export, and they can be read."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from prometheus_client.metrics_core import Metric

from app.prometheus.api import ApiMetrics
from app.prometheus.process import LoopLag, ProcessGauges, new_registry
from app.prometheus.worker import WorkerMetrics
from app.settings import LEAVING_SECONDS, Settings
from domain.model.resources import UNWATCHED
from persistence.deployment_reader import Deployment

ROOT: Final = Path(__file__).parents[2]
FILES: Final = ROOT / "docs" / "observability"
NAME: Final = re.compile(r"\b(?:regatta|process)_[a-z_]+\b")
SUFFIXES: Final = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "info": ("_info",)}


class _Deployments:
    async def now(self) -> Deployment:
        return Deployment(0, 0.0, {"QUEUED": 0}, 0, 0, 0, 0, 0, {"INFO": 0})


class _Nothing:
    waiting = active = 0


@pytest.fixture
async def families() -> list[Metric]:
    """All that the two kinds of processes export."""
    api = ApiMetrics(lambda: None)
    await api.deployment.refresh(_Deployments())
    worker = WorkerMetrics(new_registry(), is_by_tenant=False)
    worker.watch(_Nothing(), _Nothing(), 1)  # type: ignore[arg-type]  # it is only looked at
    LoopLag(worker.registry)
    worker.registry.register(ProcessGauges(lambda: UNWATCHED))
    return [*api.registry.collect(), *worker.registry.collect()]


def exported(families: list[Metric]) -> set[str]:
    return {f"{each.name}{suffix}" for each in families for suffix in SUFFIXES.get(each.type, ("",))}


def rules() -> list[dict[str, Any]]:
    document = yaml.safe_load((FILES / "regatta.rules.yml").read_text("utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FILES / "grafana" / "dashboards" / "regatta.json").read_text("utf-8"))
    return found


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in rules())
    yield from (target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", ()))


def test_rules_and_dashboard_ask_for_nothing_that_is_not_exported(families: list[Metric]) -> None:
    asked = {name for expression in expressions() for name in NAME.findall(expression)}

    assert len(asked) > 25
    assert asked - exported(families) == set()


def test_the_table_of_the_documentation_has_every_metric_of_ours(families: list[Metric]) -> None:
    table = re.findall(r"^\| `(regatta_[a-z_]+)", (FILES / "README.md").read_text("utf-8"), re.MULTILINE)

    assert sorted(table) == sorted({name for name in exported(families) if _is_told(name)})


def _is_told(name: str) -> bool:
    """Of a histogram one line will do."""
    return name.startswith("regatta_") and not name.endswith(("_count", "_sum"))


def test_every_rule_says_what_is_wrong_and_what_to_do() -> None:
    for rule in rules():
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert set(rule["annotations"]) == {"summary", "action"}
        assert rule["expr"].count("(") == rule["expr"].count(")")


def test_no_figure_of_the_dashboard_is_divided_by_nothing() -> None:
    panels = [panel for panel in dashboard()["panels"] if panel["type"] == "stat"]
    divided = [target["expr"] for panel in panels for target in panel["targets"] if " / " in target["expr"]]

    assert divided
    assert all(re.search(r" / \(.+ > 0\)$", expression) for expression in divided)


def test_the_dashboard_takes_its_data_source_from_a_variable_and_has_no_two_panels_in_one_place() -> None:
    panels = dashboard()["panels"]

    assert [variable["name"] for variable in dashboard()["templating"]["list"]] == ["datasource"]
    assert {panel["datasource"]["uid"] for panel in panels if panel["type"] != "row"} == {"${datasource}"}
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}) == len(panels)


def test_the_profile_starts_pinned_images_on_loopback_with_files_that_are_there() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))["services"]

    started = {name: each for name, each in services.items() if each.get("profiles") == ["observability"]}
    assert set(started) == {"prometheus", "grafana"}
    for service in started.values():
        assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+\.\d+", service["image"])
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        own = [mount.split(":")[0] for mount in service["volumes"] if mount.startswith("./")]
        assert own
        assert all((ROOT / path).exists() for path in own)


def test_prometheus_scrapes_what_the_compose_file_starts() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))["services"]
    jobs = yaml.safe_load((FILES / "prometheus.yml").read_text("utf-8"))["scrape_configs"]

    api, worker = jobs
    told = services["worker"]["environment"]
    assert api["static_configs"] == [{"targets": ["api:8000"]}]
    assert "api" in services["api"]["environment"]["REGATTA_ALLOWED_HOSTS"].rstrip("}").split(",")
    assert worker["dns_sd_configs"][0]["names"] == ["worker"]
    assert worker["dns_sd_configs"][0]["port"] == int(told["REGATTA_WORKER_METRICS_PORT"])
    assert (told["REGATTA_HOST"], told["REGATTA_ALLOWED_HOSTS"]) == ("0.0.0.0", "*")


def test_whoever_stops_a_worker_gives_it_longer_than_it_may_take() -> None:
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))["services"]["worker"]
    objects = list(yaml.safe_load_all((ROOT / "deploy" / "kubernetes.yaml").read_text("utf-8")))
    [grace] = [each["data"]["REGATTA_SHUTDOWN_GRACE_SECONDS"] for each in objects if each["kind"] == "ConfigMap"]
    pods = [each["spec"]["template"]["spec"] for each in objects if each["kind"] == "Deployment"]

    assert float(compose["stop_grace_period"].removesuffix("s")) > Settings().shutdown_grace_seconds + LEAVING_SECONDS
    assert len(pods) == 2
    assert min(pod["terminationGracePeriodSeconds"] for pod in pods) > float(grace) + LEAVING_SECONDS


@pytest.mark.parametrize(("metrics", "port", "own"), [(True, 9464, 9466), (True, None, None), (False, 9464, None)])
def test_each_worker_of_a_machine_has_a_port_of_its_own(metrics: bool, port: int | None, own: int | None) -> None:
    assert Settings(metrics=metrics, worker_metrics_port=port).metrics_port_of(2) == own
