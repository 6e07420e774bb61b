"""Runs methods on equations, judges them inside and outside, and keeps what they gave."""

import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.bench.feynman.methods import METHODS, Answer, revision
from training.errors import ConfigError
from training.fitting.law import Floats
from training.tasks.physics import Equation

N_ROWS = 2000
"""Training rows, and rows inside and outside that a method is judged by."""

NOISES = (0.0, 0.01)
"""Standard deviation of the Gaussian noise of the labels, as a share of their root mean square."""

EXACT = 1e-6
"""Largest relative error, over every row inside and outside, of a formula that counts as recovered."""


@dataclass(frozen=True)
class Result:
    """What one method reached on one equation.

    Attributes:
        equation: Name of the equation.
        structure: What its formula is made of.
        noise: Noise of the training labels.
        method: Name of the method.
        seed: Seed of rows and fit.
        revision: What the result depends on beside these.
        exact: Whether the formula is recovered: the method says so, and every row inside and outside is right to within
            `EXACT`.
        found: Whether the method says that it has the law itself.
        proven: Whether it says that all rows agree to rounding.
        r2_inside: Coefficient of determination inside; None where a result is not finite.
        r2_outside: The same outside.
        error_inside: Median relative error inside.
        error_outside: The same outside.
        worst: Largest relative error of all.
        formula: The formula, where the method has one.
        seconds: Processor time of the fit.
    """

    equation: str
    structure: str
    noise: float
    method: str
    seed: int
    revision: str
    exact: bool
    found: bool
    proven: bool
    r2_inside: float | None
    r2_outside: float | None
    error_inside: float | None
    error_outside: float | None
    worst: float | None
    formula: str
    seconds: float

    @property
    def key(self) -> tuple[Any, ...]:
        """What a result is found again by."""
        return (self.equation, self.noise, self.method, self.seed, self.revision)


class Kept:
    """Results of earlier runs in a file of JSON lines.

    Args:
        path: The file, or None to keep nothing.

    Raises:
        ConfigError: When the file is not one of results.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._results: dict[tuple[Any, ...], Result] = {}
        if path is not None and path.is_file():
            try:
                for line in path.read_text(encoding="utf-8").splitlines():
                    result = Result(**json.loads(line))
                    self._results[result.key] = result
            except (ValueError, TypeError) as error:
                msg = f"kept results must be JSON lines of `nalu bench feynman`, however {path}: {error}; remove it"
                raise ConfigError(msg) from error

    def find(self, key: tuple[Any, ...]) -> Result | None:
        """Return a kept result, or None."""
        return self._results.get(key)

    def keep(self, result: Result) -> None:
        """Keep a result, in the file too."""
        self._results[result.key] = result
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(asdict(result)) + "\n")


def run(
    equations: Sequence[Equation],
    noises: Sequence[float],
    methods: Sequence[str],
    n_seeds: int,
    kept: Kept,
    tell: Callable[[Result], None],
) -> list[Result]:
    """Run methods on equations.

    Args:
        equations: The equations.
        noises: Noise of the training labels.
        methods: Names among `METHODS`.
        n_seeds: Seeds from 0 on.
        kept: Earlier results; new ones are added.
        tell: Called with each result.
    """
    torch.set_num_threads(1)
    revisions = {method: revision(method) for method in methods}
    results = []
    for method in methods:
        for noise in noises:
            for equation in equations:
                for seed in range(n_seeds):
                    key = (equation.name, noise, method, seed, revisions[method])
                    result = kept.find(key)
                    if result is None:
                        result = measure(equation, noise, method, seed, revisions[method])
                        kept.keep(result)
                    tell(result)
                    results.append(result)
    return results


def measure(equation: Equation, noise: float, method: str, seed: int, revision: str) -> Result:
    """Fit one method to one equation and judge it by rows without noise."""
    generator = np.random.default_rng([seed, zlib.crc32(equation.name.encode())])
    inputs, targets = equation.draw(N_ROWS, generator)
    inside = equation.draw(N_ROWS, generator)
    outside = equation.draw_outside(N_ROWS, generator)
    targets = targets + noise * np.sqrt(np.mean(targets**2)) * generator.normal(size=len(targets))
    answer = METHODS[method](equation, inputs, targets, inside[0], outside[0], seed)
    return _judged(equation, noise, method, seed, revision, answer, inside[1], outside[1])


def _judged(
    equation: Equation,
    noise: float,
    method: str,
    seed: int,
    revision: str,
    answer: Answer,
    inside: Floats,
    outside: Floats,
) -> Result:
    errors = [_relative(answer.inside, inside), _relative(answer.outside, outside)]
    worst = float(np.max(np.concatenate(errors)))
    return Result(
        equation.name,
        equation.structure,
        noise,
        method,
        seed,
        revision,
        exact=answer.found and worst <= EXACT,
        found=answer.found,
        proven=answer.proven,
        r2_inside=_determination(answer.inside, inside),
        r2_outside=_determination(answer.outside, outside),
        error_inside=_finite(float(np.median(errors[0]))),
        error_outside=_finite(float(np.median(errors[1]))),
        worst=_finite(worst),
        formula=answer.formula,
        seconds=round(answer.seconds, 2),
    )


def _relative(given: Floats, truth: Floats) -> Floats:
    with np.errstate(all="ignore"):
        gap = np.abs(given - truth)
        return np.nan_to_num(np.where(gap == 0, 0.0, gap / np.abs(truth)), nan=np.inf, posinf=np.inf)


def _determination(given: Floats, truth: Floats) -> float | None:
    with np.errstate(all="ignore"):
        left = np.mean((given - truth) ** 2) / np.mean((truth - truth.mean()) ** 2)
    return float(1 - left) if np.isfinite(left) else None


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
