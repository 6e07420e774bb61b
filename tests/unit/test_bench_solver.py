"""The parts of the search, one by one, and the names they go by."""

from collections.abc import Iterator
from functools import partial

import pytest

from training.bench.solver_ablations import ABLATIONS, Row, ablate
from training.errors import ConfigError


def test_a_part_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="one of snapping, precision, loss, restarts, however: speed"):
        ablate(("speed",), 1, print)


def test_every_line_is_told_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [Row("snapping", "raw", "sums", 2, 1, 0.5), Row("loss", "log", "sums", 2, 2, float("inf"))]

    def part(name: str, n_seeds: int) -> Iterator[Row]:
        return (row for row in rows if row.ablation == name and row.n_seeds == n_seeds)

    for name in ABLATIONS:
        monkeypatch.setitem(ABLATIONS, name, partial(part, name))
    told: list[Row] = []
    assert ablate((), 2, told.append) == told == rows
    assert ablate(("loss",), 2, told.append) == rows[1:]
    assert [row.as_dict()["error"] for row in rows] == [0.5, None]
