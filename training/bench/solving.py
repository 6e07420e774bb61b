"""What is put to the test: a method takes a problem's rows and gives something that answers rows."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from time import process_time

import numpy as np

from training.bench.cell import Cell, Floats, Problem
from training.fitting.exact import ExactSettings, Found, fit_exact
from training.fitting.law import Law, Layer


@dataclass(frozen=True)
class Answer:
    """What a method gave for one problem.

    Attributes:
        predict: Rows → results, shape (n,).
        found: Whether the method says that it is the exact law.
        said: What it says it found, or why nothing.
        duration_s: Seconds of the fit, as its one thread counts them: a busy machine adds nothing.
        n_restarts: Starts of fits with local minima.
        n_iterations: Steps of first-order fits.
        solved_at: First logged step below the threshold; None where there is no such step.
        law: The exact law, where that is what was found.
        certified: Whether the law may have a certificate; one found through noise may not.
    """

    predict: Callable[[Floats], Floats]
    found: bool
    said: str
    duration_s: float
    n_restarts: int = 0
    n_iterations: int = 0
    solved_at: int | None = None
    law: Law | None = None
    certified: bool = False


Method = Callable[[Cell, Problem, int], Answer]
"""(cell, problem, seed) → answer. A method may look at the problem's rows and, for fresh ones, at its truth inside the
training range; never at the cell's operation."""


def solve_exact(cell: Cell, problem: Problem, seed: int) -> Answer:
    """Search for the exact law, with the settings that everything else is searched with."""
    settings = ExactSettings()
    if cell.without:
        offered = tuple(name for name in settings.structures if name not in cell.without)
        settings = replace(settings, structures=offered)
    started = process_time()
    outcome = fit_exact(problem.inputs, problem.targets, seed=seed, settings=settings)
    duration_s = process_time() - started
    n_restarts = sum(candidate.n_restarts for candidate in outcome.report.candidates)
    if isinstance(outcome, Found):
        law = widened(outcome.snapped, cell.d_hidden) if cell.task == "dataset" else outcome.snapped
        return Answer(law.evaluate, True, law.structure, duration_s, n_restarts, law=law, certified=outcome.proven)
    return Answer(outcome.ordinary.evaluate, False, outcome.reason, duration_s, n_restarts)


def widened(law: Law, d_hidden: int) -> Law:
    """Return the same law with a hidden layer of the width given, whose spare units take no part.

    The search chooses the width by itself; a network of a given width holds the law it found.
    """
    if len(law.layers) < 2 or law.layers[0].weight.shape[0] >= d_hidden or law.layers[0].bias is not None:
        return law
    first, second, *rest = law.layers
    spare = d_hidden - first.weight.shape[0]
    wide = Layer(first.kind, np.pad(first.weight, ((0, spare), (0, 0))))
    taking = Layer(second.kind, np.pad(second.weight, ((0, 0), (0, spare))), second.bias)
    return Law(law.structure, (wide, taking, *rest))
