"""Settings are bounded, documented, and never misspelt in silence."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from service.errors import SettingsError
from service.machine import usable_cores
from service.settings import Settings, read_settings

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"NALU_{name.upper()}", raising=False)


def test_a_variable_is_read_and_an_option_wins_over_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NALU_PORT", "9000")
    monkeypatch.setenv("NALU_HOST", "0.0.0.0")  # noqa: S104

    settings = read_settings({"port": 9001, "host": None})

    assert (settings.port, settings.host) == (9001, "0.0.0.0")  # noqa: S104


@pytest.mark.parametrize("name", ["NALU_PROT", "nalu_prot", "NALU_MODEL_REPO"])
def test_an_unknown_variable_is_refused_by_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "secret-value")

    with pytest.raises(SettingsError, match=name) as caught:
        read_settings()

    assert "NALU_PORT" in str(caught.value)
    assert "secret-value" not in str(caught.value)


def test_the_training_side_s_variable_is_let_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NALU_DATA_DIR", "/data")

    assert read_settings().port == 8000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "65536"),
        ("port", "eighty"),
        ("provider", "gpu"),
        ("workers", "-1"),
        ("session_threads", "-1"),
        ("max_body_bytes", "0"),
        ("max_rows", "0"),
        ("drain_s", "nan"),
        ("log_level", "loud"),
        ("host", ""),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_its_variable_s_name(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"NALU_{name.upper()}", value)

    with pytest.raises(SettingsError, match=f"NALU_{name.upper()}: .*, however: '{value}'"):
        read_settings()


def test_settings_do_not_change_once_read() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1  # type: ignore[misc]


@pytest.mark.parametrize(("cores", "workers", "threads"), [(1, 1, 1), (2, 1, 2), (2, 2, 1), (16, 1, 2), (4, 8, 1)])
def test_workers_times_threads_fit_the_cores(
    cores: int, workers: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.settings.usable_cores", lambda: cores)

    assert Settings(workers=workers).threads == threads
    assert Settings(workers=workers, session_threads=5).threads == 5


@pytest.mark.parametrize(
    ("cores", "provider", "cuda", "workers"),
    [(2, "auto", False, 2), (1, "cpu", False, 1), (64, "auto", False, 8), (16, "cuda", True, 1), (16, "auto", True, 1)],
)
def test_workers_fit_the_machine_unless_told(
    cores: int, provider: str, cuda: bool, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.settings.usable_cores", lambda: cores)
    monkeypatch.setattr("service.settings.has_cuda_runtime", lambda: cuda)

    assert read_settings({"provider": provider}).n_workers == workers
    assert read_settings({"provider": provider, "workers": 3}).n_workers == 3


@pytest.mark.parametrize(
    ("quota", "cores"), [("max 100000", 8), ("200000 100000", 2), ("50000 100000", 1), ("garbage", 8), ("1 0", 8)]
)
def test_a_container_s_quota_bounds_the_cores(
    quota: str, cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: set(range(8)), raising=False)
    (tmp_path / "cpu.max").write_text(quota)

    assert usable_cores(tmp_path / "cpu.max") == cores
    assert usable_cores(tmp_path / "absent") == 8


def test_every_setting_has_its_row_in_the_documentation_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(NALU_\w+)` \| `([^`]*)` \|", PAGE.read_text(), flags=re.MULTILINE))

    assert rows == {f"NALU_{name.upper()}": str(field.default) for name, field in Settings.model_fields.items()}
