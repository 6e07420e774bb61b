"""Dashboard, alerts and edge: what they name must be there; promtool judges them where it is installed."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from service.metrics import FAMILIES

CHECKOUT = Path(__file__).resolve().parents[2]
DEPLOY = CHECKOUT / "deploy"
COMPOSE: dict[str, Any] = YAML(typ="safe").load(CHECKOUT / "docker-compose.yml")
RULES = [
    rule for group in YAML(typ="safe").load(DEPLOY / "prometheus" / "alerts.yml")["groups"] for rule in group["rules"]
]
BOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "dashboards" / "nalu.json").read_text(encoding="utf-8"))
PANELS: list[dict[str, Any]] = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
PAGE = (CHECKOUT / "docs" / "operations.md").read_text(encoding="utf-8")

QUERIES = {
    **{f"alert {rule['alert']}": rule["expr"] for rule in RULES},
    **{f"panel {panel['title']} {t['refId']}": t["expr"] for panel in PANELS for t in panel["targets"]},
}
TOLD = {
    told
    for name, family in FAMILIES.items()
    for told in ([f"{name}_{part}" for part in ("bucket", "sum", "count")] if family.kind == "histogram" else [name])
}
LABELS = {"instance", "job", "path", "status", "model", "version", "outcome", "output", "le", "kind", "reason"}
LABELS |= {"worker"}


@pytest.mark.parametrize("what", QUERIES)
def test_every_name_and_label_that_is_asked_for_is_told(what: str) -> None:
    query = QUERIES[what]
    names = set(re.findall(r"\b(?:nalu|process|nv)_\w+", query))
    grouped = {
        label.strip() for labels in re.findall(r"(?:by|ignoring|on) \(([^)]*)\)", query) for label in labels.split(",")
    }
    matched = set(re.findall(r"[{,]\s*(\w+)[!=]", query))

    assert names or query.startswith("up{")
    assert names <= TOLD
    assert grouped | matched <= LABELS


def test_every_alert_has_a_test_and_a_row_on_the_page() -> None:
    tests = (DEPLOY / "prometheus" / "alerts_test.yml").read_text(encoding="utf-8")

    for rule in RULES:
        assert rule["alert"] in tests
        assert f"| `{rule['alert']}` | {rule['labels']['severity']} |" in PAGE
        assert {"summary", "description"} == set(rule["annotations"])


def test_every_panel_says_what_it_shows() -> None:
    places = [tuple(panel["gridPos"].values()) for panel in BOARD["panels"]]

    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    assert len(set(places)) == len(places)
    for panel in PANELS:
        assert panel["description"].endswith(".")
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"prometheus"}


def test_grafana_finds_what_is_provisioned() -> None:
    provisioning = DEPLOY / "grafana" / "provisioning"
    (source,) = YAML(typ="safe").load(provisioning / "datasources" / "prometheus.yml")["datasources"]
    (provider,) = YAML(typ="safe").load(provisioning / "dashboards" / "nalu.yml")["providers"]
    mounts = dict(volume.split(":")[:2] for volume in COMPOSE["services"]["grafana"]["volumes"])
    (board,) = [target for source, target in mounts.items() if source == "./deploy/grafana/dashboards"]

    assert source["uid"] == "prometheus"
    assert source["url"] == "http://prometheus:9090"
    assert provider["options"]["path"] == board
    assert mounts["./deploy/grafana/provisioning"] == "/etc/grafana/provisioning"
    home = COMPOSE["services"]["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{board}/nalu.json"


@pytest.mark.parametrize("name", ["prometheus", "grafana", "edge"])
def test_what_stands_around_the_service_is_confined_as_it_is(name: str) -> None:
    service = COMPOSE["services"][name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert re.fullmatch(r"\$\{\w+:-[\w./]+:v?[\d.]+\}", service["image"])
    for mount in service.get("tmpfs", ()):
        assert re.fullmatch(r"/[\w/]+:size=\d+[mg],mode=1777", mount)
    for port in service["ports"]:
        assert re.match(r"127\.0\.0\.1:|\$\{EDGE_ADDRESS:-127\.0\.0\.1\}:", port)
    for volume in service["volumes"]:
        source = volume.split(":")[0]
        assert not source.startswith("./") or (CHECKOUT / source).exists()


def test_the_check_of_containers_looks_for_the_images_of_the_composition() -> None:
    script = (DEPLOY / "check-containers").read_text(encoding="utf-8")

    for name in ("prometheus", "grafana", "edge"):
        found = re.fullmatch(r"\$\{(\w+):-(.+)\}", COMPOSE["services"][name]["image"])
        assert found is not None
        assert f'"{name}": ("{found[1]}", "{found[2]}"),' in script


def test_no_key_or_certificate_is_kept() -> None:
    listed = subprocess.run(["git", "ls-files", "deploy"], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    kept = [name for name in listed.stdout.split() if re.search(r"\.(key|crt|pem|p12)$", name)]

    assert not kept
    for path in (DEPLOY / "edge").rglob("*"):
        assert path.is_dir() or "PRIVATE KEY" not in path.read_text(encoding="utf-8")


def tool(name: str) -> str:
    """Return where a program is; without it the test is skipped."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian: prometheus)")
    return found


def test_promtool_accepts_the_rules_and_their_tests() -> None:
    for command in (["check", "config", "prometheus.yml"], ["test", "rules", "alerts_test.yml"]):
        done = subprocess.run(
            [tool("promtool"), *command], cwd=DEPLOY / "prometheus", capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_without_prometheus_the_check_says_so(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, DEPLOY / "check-metrics"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0
    assert done.stdout.startswith("skipped: prometheus and promtool must be on the path")
