"""An answer and a problem → what is known of it; all of it on rows that no fit and no choice has seen."""

from dataclasses import dataclass

import numpy as np

from training.bench import arithmetic_dataset, compositions, controls, noise, single_module
from training.bench.cell import N_TEST_ROWS, Cell, Floats, Problem
from training.bench.criterion import (
    EXACT,
    has_threshold,
    largest_relative_error,
    mean_squared_error,
    threshold,
)
from training.bench.solving import Answer

_DRAW = {
    "single": single_module.draw,
    "dataset": arithmetic_dataset.draw,
    "noise": noise.draw,
    "compositions": compositions.draw,
    "controls": controls.draw,
}

_N_MIRRORED_ROWS = 1000


def draw(cell: Cell, seed: int) -> Problem:
    """Draw the problem of one seed."""
    return _DRAW[cell.task](cell, cell.generator(seed, "problem"))


@dataclass(frozen=True)
class Trial:
    """What one method did on one seed.

    Attributes:
        seed: The seed.
        solved: Whether the criterion holds; for a control, whether the method says "not found".
        found: Whether the method says that it has the exact law.
        said: What it says.
        mse: Mean squared error on extrapolation rows; None for a control.
        error: Largest relative error on extrapolation rows.
        error_inside: The same on fresh rows of the training range.
        error_mirrored: The same on extrapolation rows with all signs turned; None where there is no result.
        duration_s: Seconds of the fit, as its one thread counts them.
        n_restarts: Starts of fits with local minima.
        solved_at: First logged step below the threshold.
        certified: Whether the law found may have a certificate.
    """

    seed: int
    solved: bool
    found: bool
    said: str
    duration_s: float
    n_restarts: int
    mse: float | None = None
    error: float | None = None
    error_inside: float | None = None
    error_mirrored: float | None = None
    solved_at: int | None = None
    certified: bool = False


def judge(cell: Cell, problem: Problem, seed: int, answer: Answer, *, first_order: bool) -> Trial:
    """Judge an answer.

    Args:
        cell: The cell.
        problem: The problem.
        seed: Its seed.
        answer: What the method gave.
        first_order: Whether the method is a published recipe, which never says "not found".
    """
    if problem.truth is None:
        return Trial(
            seed,
            not answer.found,
            answer.found,
            answer.said,
            answer.duration_s,
            answer.n_restarts,
            certified=answer.certified,
        )
    generator = cell.generator(seed, "test")
    outside = cell.input_range.draw_outside(N_TEST_ROWS, cell.d_inputs, generator)
    inside = cell.input_range.draw_inside(N_TEST_ROWS, cell.d_inputs, generator)
    truth = problem.truth(outside, np.longdouble)
    predictions = answer.predict(outside)
    mse = mean_squared_error(predictions, truth)
    error = largest_relative_error(predictions, truth)
    solved = mse < threshold(cell) if has_threshold(cell) else error <= EXACT
    return Trial(
        seed,
        bool(solved and answer.found),
        answer.found and not first_order,
        answer.said,
        answer.duration_s,
        answer.n_restarts,
        mse,
        error,
        largest_relative_error(answer.predict(inside), problem.truth(inside, np.longdouble)),
        _mirrored(problem, answer, outside[:_N_MIRRORED_ROWS]),
        answer.solved_at,
        answer.certified,
    )


def _mirrored(problem: Problem, answer: Answer, outside: Floats) -> float | None:
    assert problem.truth is not None  # noqa: S101 # the caller has looked
    with np.errstate(invalid="ignore"):
        truth = problem.truth(-outside, np.longdouble)
    if np.isnan(truth).any():  # the root of a negative number
        return None
    return largest_relative_error(answer.predict(-outside), truth)
