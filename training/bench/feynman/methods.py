"""Our search and its peers on the rows of an equation."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import training.fitting
from training.bench.table.peers import METHODS as PEERS
from training.bench.table.peers import available as available_peers
from training.evaluation.leaderboard import TableRows
from training.fitting.exact import SOLVERS, ExactSettings, fit_exact
from training.fitting.law import Floats
from training.fitting.outcome import Found
from training.law_model import law_text
from training.tasks.physics import Equation

OURS = "search"
PEER_NAMES = (
    *("ridge", "power law", "LightGBM", "HistGradientBoosting", "linear trees"),
    *("XGBoost", "CatBoost", "MLP"),
)
"""Those of the benchmark on tables that take seconds a fit."""


@dataclass(frozen=True)
class Answer:
    """What a method gave for one equation.

    Attributes:
        inside: Results for the rows inside, shape (n,).
        outside: Results for the rows outside.
        found: Whether the method says that it has the law itself.
        proven: Whether it says that every row agrees with it to rounding.
        formula: The formula in text; empty where the method has none.
        seconds: Processor time.
    """

    inside: Floats
    outside: Floats
    found: bool
    proven: bool
    formula: str
    seconds: float


Method = Callable[[Equation, Floats, Floats, Floats, Floats, int], Answer]
"""(equation for its names alone, training rows, results, rows inside, rows outside, seed) → answer."""


def _search(equation: Equation, x: Floats, y: Floats, inside: Floats, outside: Floats, seed: int) -> Answer:
    began = time.process_time()
    outcome = fit_exact(x, y, seed=seed, settings=ExactSettings(structures=tuple(SOLVERS)))
    seconds = time.process_time() - began
    found = isinstance(outcome, Found)
    law = outcome.snapped if isinstance(outcome, Found) else outcome.ordinary
    return Answer(
        law.evaluate(inside),
        law.evaluate(outside),
        found,
        isinstance(outcome, Found) and outcome.proven,
        law_text(law, tuple(one.name for one in equation.inputs)),
        seconds,
    )


def _peer(name: str) -> Method:
    def method(equation: Equation, x: Floats, y: Floats, inside: Floats, outside: Floats, seed: int) -> Answer:  # noqa: ARG001 - one signature for all
        test = np.concatenate([inside, outside])
        began = time.process_time()
        answer = PEERS[name](_rows(x, y), _rows(test, np.zeros(len(test))), (), seed)[:, 0]
        seconds = time.process_time() - began
        return Answer(answer[: len(inside)], answer[len(inside) :], False, False, "", seconds)

    return method


def _rows(x: Floats, y: Floats) -> TableRows:
    return TableRows(x, np.zeros((len(x), 0), dtype=np.int64), y[:, None])


METHODS: dict[str, Method] = {OURS: _search, **{name: _peer(name) for name in PEER_NAMES}}
"""Name → method; the peers are those of the benchmark on tables, at its settings."""


def available() -> list[str]:
    """Return the methods that can be run here: all but those whose packages are not installed."""
    there = available_peers()
    return [OURS, *(name for name in PEER_NAMES if name in there)]


def revision(method: str) -> str:
    """Return what a kept result of a method depends on: for ours a hash of its code."""
    if method != OURS:
        return "1"
    code = hashlib.sha256()
    for folder in training.fitting.__path__:
        for name in _CODE:
            code.update((Path(folder) / name).read_bytes())
    return code.hexdigest()[:12]


_CODE = (
    *("exact.py", "structures.py", "snapping.py", "noisy.py", "evidence.py", "rivals.py", "verdict.py", "ordinary.py"),
    *("constants.py", "factored.py", "factored_model.py", "factored_law.py", "factored_numbers.py"),
    *("factored_structure.py", "factored_approximation.py"),
)
