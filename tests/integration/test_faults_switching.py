"""The short form of `benchmarks.faults.switching`: versions change while many ask, and every answer is compared."""

from pathlib import Path

import pytest

from benchmarks.faults.asking import FORMS
from benchmarks.faults.switching import Http, figure_of, run


@pytest.mark.parametrize(("http", "workers"), [("protocol", 2), ("asgi", 1)])
def test_versions_change_under_load(tmp_path: Path, http: Http, workers: int) -> None:
    found = run(tmp_path, http, workers, n_changes=25, n_connections=16)

    assert found["wrong"] == []
    assert found["faults"] == []
    assert sum(found["made"].values()) == 25
    assert set(found["answers"]) == set(FORMS)
    assert found["n_versions"] > 1
    assert figure_of(found).holds
