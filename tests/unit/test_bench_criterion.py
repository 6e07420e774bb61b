"""Thresholds, intervals and errors against published figures and independent arithmetic."""

from fractions import Fraction

import numpy as np
import pytest

from training.bench.arithmetic_dataset import cells as dataset_cells
from training.bench.arithmetic_dataset import subsets
from training.bench.cell import RANGES, Cell, Floats
from training.bench.criterion import (
    EPSILON,
    largest_relative_error,
    mean_squared_error,
    threshold,
    wilson_interval,
)
from training.bench.single_module import cells as single_cells
from training.tasks.arithmetic import OPERATIONS


def single(operation: str, range_name: str = "1:2", d_inputs: int = 2) -> Cell:
    return single_cells((operation,), (range_name,), (d_inputs,))[0]


@pytest.mark.parametrize(
    ("operation", "mean"),
    [
        ("add", EPSILON**2 * (64 + 8 / 3)),
        ("multiply", (2 * EPSILON * 52 / 3) ** 2),
        ("divide", (2 * EPSILON) ** 2 * 52 / 3 / 12),
        ("reciprocal", EPSILON**2 / 12 * (1 + 8 + 52 / 3)),
        ("sqrt", EPSILON**2 * 4 * (1 / 4 + 4 + 52 / 3)),
    ],
)
def test_thresholds_of_two_inputs_are_the_integrals(operation: str, mean: float) -> None:
    """On U[2,6]: E a = 4, E a² = 52/3, E 1/a² = 1/12; 1 / a and √a have an input that plays no part."""
    assert threshold(single(operation)) == pytest.approx(mean, rel=0.02)


def test_inputs_that_play_no_part_make_a_product_worse() -> None:
    assert threshold(single("multiply", d_inputs=10)) > 10 * threshold(single("multiply"))


@pytest.mark.parametrize("cell", dataset_cells(tuple(OPERATIONS), ("1:2",)), ids=lambda cell: cell.operation)
def test_thresholds_of_the_dataset_are_those_of_two_weight_rows(cell: Cell) -> None:
    """The same by the paper's matrix: 1 − ε inside the subsets, ε outside."""
    rows = np.random.default_rng(0).uniform(2, 6, (100_000, cell.d_inputs))
    first, second = subsets(cell, 3)

    def result(inside: float, outside: float) -> Floats:
        weights = np.full((2, cell.d_inputs), outside)
        weights[0, first], weights[1, second] = inside, inside
        a, b = weights @ rows.T
        return np.asarray(
            {
                "add": a + b,
                "subtract": a - b,
                "multiply": a * b,
                "divide": a / b,
                "square": a**2,
                "sqrt": a**0.5,
            }[cell.operation],
            dtype=np.float64,
        )

    expected = float(np.mean((result(1 - EPSILON, EPSILON) - result(1, 0)) ** 2))
    assert threshold(cell) == pytest.approx(expected, rel=0.03)


def test_a_mean_that_does_not_exist_leaves_a_threshold() -> None:
    cell = dataset_cells(("divide",), ("-2:2",))[0]
    assert 0 < threshold(cell) < np.inf


@pytest.mark.parametrize(
    ("n_solved", "n_seeds", "low", "high"), [(100, 100, 96.3, 100), (25, 25, 86.7, 100), (0, 10, 0, 27.8)]
)
def test_wilson_intervals_are_the_published_ones(n_solved: int, n_seeds: int, low: float, high: float) -> None:
    assert [round(100 * bound, 1) for bound in wilson_interval(n_solved, n_seeds)] == [low, high]


def test_errors_are_measured_in_the_precision_of_the_truth() -> None:
    truth = np.longdouble(1) / np.array([3, 7], dtype=np.longdouble)
    predictions = (1 / np.array([3.0, 7.0])).astype(np.float64)
    worst = max(abs(Fraction(p) * q - 1) for p, q in zip(predictions.tolist(), (3, 7), strict=True))
    if np.finfo(np.longdouble).nmant > 52:  # extended precision
        assert largest_relative_error(predictions, truth) == pytest.approx(float(worst), rel=1e-3)
    assert mean_squared_error(predictions, truth) < 1e-33
    assert largest_relative_error(np.array([0.0]), np.array([0.0])) == 0
    assert largest_relative_error(np.array([1.0]), np.array([0.0])) == np.inf
    assert largest_relative_error(np.array([np.nan]), np.array([1.0])) == np.inf
    assert mean_squared_error(np.array([np.nan]), np.array([1.0])) == np.inf


def test_every_range_leads_out_of_itself() -> None:
    for source in RANGES.values():
        rows = source.draw_outside(500, 3, np.random.default_rng(0))
        assert ((rows <= source.low) | (rows >= source.high)).all(), source.name
        inside = source.draw_inside(500, 3, np.random.default_rng(0))
        assert ((inside >= source.low) & (inside <= source.high)).all(), source.name
    both = RANGES["-2:2"].draw_outside(500, 2, np.random.default_rng(0))
    assert {tuple(row) for row in np.sign(both).tolist()} == {(1, 1), (1, -1), (-1, 1), (-1, -1)}
