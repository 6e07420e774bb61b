"""Trunks: what they recover, what they say outside, and what they refuse."""

from collections.abc import Callable

import numpy as np
import pytest

from training.tabular.rows import Columns, Rows
from training.tabular.term_search import search_terms
from training.tabular.trunks import KINDS, TrunkKind, fit_trunk

KIND = {kind.name: kind for kind in KINDS}


def rows_of(numeric: np.ndarray, codes: np.ndarray | None = None) -> Rows:
    return Rows(numeric, np.zeros((len(numeric), 0), dtype=np.int64) if codes is None else codes)


def uniform(n_rows: int = 300, d: int = 3, low: float = 1.0, high: float = 3.0, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(low, high, (n_rows, d))


@pytest.mark.parametrize(
    ("kind", "law", "tolerance"),
    [
        ("linear", lambda x: 2 * x[:, 0] - x[:, 1] + 7, 1e-4),
        ("power law", lambda x: 5 * x[:, 0] ** 2 / x[:, 2], 1e-4),
        ("logarithms", lambda x: 3 * np.log(x[:, 0]) - 1, 1e-4),
        ("exponential", lambda x: np.exp(x[:, 0] - x[:, 1]), 1e-4),
        ("products of bent lines", lambda x: x[:, 0] * x[:, 1] - x[:, 2], 0.02),
    ],
)
def test_a_trunk_of_the_right_kind_continues_the_law_at_twice_the_range(
    kind: str, law: Callable[[np.ndarray], np.ndarray], tolerance: float
) -> None:
    x = uniform()
    fit = fit_trunk(KIND[kind], rows_of(x), (), law(x))
    assert fit is not None
    far = 2 * x[:50]
    np.testing.assert_allclose(fit.trunk.predict(rows_of(far)), law(far), rtol=tolerance)


def test_a_bent_line_goes_on_with_the_slope_of_the_border() -> None:
    x = uniform(600, 2, 0.0, 10.0)
    y = np.maximum(x[:, 0] - 5, 0) * 4
    fit = fit_trunk(KIND["bent lines"], rows_of(x), (), y)
    assert fit is not None
    far = np.array([[12.0, 5.0], [14.0, 5.0]])
    low, high = fit.trunk.predict(rows_of(far))
    assert high - low == pytest.approx(8.0, rel=0.1)
    assert len(fit.trunk.terms) < 8


def test_leaving_a_row_out_is_as_if_it_had_been() -> None:
    """The formula from leverages against refits without the row, at the penalty of the full fit."""
    x = uniform(40, 2)
    y = x[:, 0] + np.random.default_rng(1).normal(size=40)
    full = fit_trunk(KIND["linear"], rows_of(x), (), y)
    assert full is not None
    for i in range(5):
        rest = np.delete(np.arange(40), i)
        without = fit_trunk(KIND["linear"], rows_of(x[rest]), (), y[rest])
        assert without is not None
        assert full.left_out[i] == pytest.approx(float(without.trunk.predict(rows_of(x[i : i + 1]))[0]), abs=0.1)
    assert np.abs(full.left_out - y).mean() > np.abs(full.trunk.predict(rows_of(x)) - y).mean()


def test_a_logarithmic_link_needs_targets_that_have_a_logarithm() -> None:
    x = uniform(100, 1)
    assert fit_trunk(KIND["power law"], rows_of(x), (), x[:, 0] - 2) is None
    assert fit_trunk(KIND["power law"], rows_of(x), (), np.zeros(100)) is None
    with_zeros = fit_trunk(KIND["power law"], rows_of(x), (), np.maximum(x[:, 0] - 2, 0))
    assert with_zeros is not None
    assert np.isfinite(with_zeros.trunk.predict(rows_of(100 * x))).all()


def test_logarithms_of_zeros_gaps_and_slips_are_finite() -> None:
    rng = np.random.default_rng(0)
    numeric = np.stack(
        [
            rng.uniform(1, 2, 500),  # positive
            rng.uniform(0, 2, 500) * (rng.random(500) < 0.5),  # half zeros: log(1 + x / s)
            np.where(np.arange(500) == 7, 0.0, rng.uniform(1, 2, 500)),  # one zero: a slip, held above
            rng.normal(size=500),  # negative: stays as it is
            np.full(500, np.nan),  # never known
        ],
        axis=1,
    )
    numeric[3, 0] = np.nan
    columns = Columns.fit(rows_of(numeric), (), "log")
    assert np.isnan(columns.shift).tolist() == [False, False, False, True, True]
    assert columns.shift[:3].tolist() == pytest.approx([0, np.median(numeric[numeric[:, 1] > 0, 1]), 0])
    assert columns.missing == (0, 4)
    wild = np.array([[-5.0, -5.0, 0.0, 1e30, np.nan], [1e30, 1e30, 1e30, -1e30, 2.0]])
    assert np.isfinite(columns(rows_of(wild))).all()
    assert np.abs(columns(rows_of(wild))).max() < 100


def test_an_indicator_per_level_and_none_for_a_level_never_seen() -> None:
    columns = Columns.fit(rows_of(uniform(4, 1), np.array([[0], [1], [2], [1]])), (3,), "raw")
    block = columns(rows_of(uniform(2, 1), np.array([[1], [-1]])))
    assert block[:, 1:].tolist() == [[0, 1, 0], [0, 0, 0]]
    assert columns.width == 4


def test_terms_that_say_nothing_are_not_chosen() -> None:
    rng = np.random.default_rng(0)
    block = rng.normal(size=(500, 10))
    _, terms = search_terms(block, 10, 3 * block[:, 2] - block[:, 7] + 0.1 * rng.normal(size=500), degree=2)
    assert {(2,), (7,)} <= set(terms)
    assert len(terms) <= 4
    assert search_terms(np.ones((100, 2)), 2, rng.normal(size=100), degree=1) == ((), ())
    assert search_terms(block, 10, np.full(500, 2.0), degree=2) == ((), ())


def test_a_trunk_that_runs_away_is_held() -> None:
    x = uniform(100, 1, 0.0, 1.0)
    fit = fit_trunk(TrunkKind("line", "raw", "identity", 0), rows_of(x), (), 5 * x[:, 0])
    assert fit is not None
    low, high = fit.trunk.bounds
    assert (low, high) == pytest.approx((-15, 20), abs=0.5)
    assert low <= float(fit.trunk.predict(rows_of(np.array([[1e9]])))[0]) <= high
