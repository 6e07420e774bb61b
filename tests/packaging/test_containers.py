"""Traps of the container files that neither hadolint nor the compose schema sees."""

import re
import shlex
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

CHECKOUT = Path(__file__).resolve().parents[2]
DOCKERFILE = (CHECKOUT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = YAML(typ="safe").load(CHECKOUT / "docker-compose.yml")
INSTRUCTIONS = [
    line.replace("\\\n", " ") for line in re.findall(r"^[A-Z]+ (?:.*\\\n)*.*$", DOCKERFILE, flags=re.MULTILINE)
]


def test_the_dockerfile_builds_with_any_builder() -> None:
    """A `# syntax=` line fetches a frontend image from a registry, and the classic builder knows no `RUN --mount`."""
    assert "syntax=" not in DOCKERFILE.partition("\n")[0]
    assert not [line for line in INSTRUCTIONS if line.startswith("RUN --")]


def test_every_file_that_the_dockerfile_copies_reaches_the_engine() -> None:
    ignore = (CHECKOUT / ".dockerignore").read_text(encoding="utf-8").split("\n")
    let_in = [line.removeprefix("!") for line in ignore if line.startswith("!")]
    copied = [
        source
        for line in INSTRUCTIONS
        if line.startswith("COPY ") and "--from=" not in line
        for source in [word for word in shlex.split(line)[1:] if not word.startswith("--")][:-1]
    ]

    assert len(copied) > 8
    for source in copied:
        assert (CHECKOUT / source).exists()
        assert any(fnmatch(source, pattern) for pattern in let_in), source


def test_neither_image_runs_as_root() -> None:
    stages = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]
    bases = {stage.split()[2]: stage.split()[0] for stage in stages}
    bodies = {stage.split()[2]: stage for stage in stages}
    for target in ("service", "trainer"):
        assert bases[target] == "runtime"
        assert "USER " not in bodies[target]
    assert "\nUSER 10001:10001\n" in bodies["runtime"]


@pytest.mark.parametrize("name", ["service", "trainer"])
def test_both_services_are_confined(name: str) -> None:
    service = COMPOSE["services"][name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}


@pytest.mark.parametrize("name", ["service", "trainer"])
def test_every_tmpfs_is_one_mount(name: str) -> None:
    """Unquoted, `/tmp:size=64m,mode=1777` in brackets is split at the comma, and only the engine refuses that."""
    for mount in COMPOSE["services"][name]["tmpfs"]:
        assert re.fullmatch(r"/\w+:size=\d+[mg],mode=1777", mount)


def test_only_this_machine_reaches_the_published_ports() -> None:
    """The composition runs without API keys by default, so nobody else may reach it."""
    assert COMPOSE["services"]["service"]["ports"] == [
        "127.0.0.1:${NALU_PORT:-8000}:8000",
        "127.0.0.1:${NALU_GRPC_PORT:-8001}:8001",
    ]


def test_the_service_does_without_keys_only_where_its_port_is_published_on_this_machine() -> None:
    """In a container it listens on every address, so that it would not start without keys unless told to."""
    assert COMPOSE["services"]["service"]["environment"]["NALU_AUTH"] == "${NALU_AUTH:-off}"
    assert "NALU_AUTH" not in DOCKERFILE


def test_the_trainer_writes_where_the_service_only_reads() -> None:
    assert COMPOSE["services"]["service"]["volumes"] == ["models:/models:ro"]
    assert COMPOSE["services"]["trainer"]["volumes"] == ["models:/models"]
    assert COMPOSE["services"]["trainer"]["profiles"] == ["train"]


def test_the_images_install_extras_that_exist() -> None:
    extras = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]

    named = [
        word
        for words in re.findall(r"requirements\.py ([\w ]+?) (?:\$\{EXTRAS\} )?>", DOCKERFILE)
        for word in words.split()
    ]
    assert named == ["serve", "grpc", "train"]
    assert set(named) <= set(extras)
