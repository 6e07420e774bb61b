"""The seven arithmetic operations: what they compute, where they are defined, and rows drawn from a range."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from models.contract.manifest import Domain
from training.errors import ConfigError

Rows = NDArray[np.float64]

_AWAY_FROM_ZERO = 0.05
"""A divisor is drawn at least this share of the range's largest magnitude away from zero: nearer, a handful of rows
carries the whole squared error of a quotient."""


@dataclass(frozen=True)
class Operation:
    """One operation on one or two numbers.

    Attributes:
        name: Name of the task and of its starter model.
        inputs: Names of the inputs.
        formula: The operation as text.
        compute: Rows (n, d_inputs) → results (n,).
        domains: Input name → values with an answer.
    """

    name: str
    inputs: tuple[str, ...]
    formula: str
    compute: Callable[[Rows], Rows]
    domains: Mapping[str, Domain] = field(default_factory=dict)

    def sample(self, low: float, high: float, n_rows: int, generator: np.random.Generator) -> Rows:
        """Draw rows uniformly from the part of [low, high] where the operation is defined.

        Args:
            low: Smallest value.
            high: Largest value, above `low`.
            n_rows: Rows to draw.
            generator: Source of randomness.

        Returns:
            Inputs, shape (n_rows, d_inputs), float64.

        Raises:
            ConfigError: When the operation is defined nowhere in the range.
        """
        columns = []
        for name in self.inputs:
            domain = self.domains.get(name)
            start = low if domain is None or domain.minimum is None else max(low, domain.minimum)
            gap = _AWAY_FROM_ZERO * max(abs(low), abs(high)) if domain is not None and domain.nonzero else 0.0
            pieces = [(start, high)] if not gap else [(start, min(high, -gap)), (max(start, gap), high)]
            pieces = [(a, b) for a, b in pieces if a < b]
            if not pieces:
                msg = (
                    f"the range must hold values that {self.name} is defined for, however: {low:g} to {high:g} "
                    f"({domain.reason if domain else 'empty range'}); give another --range"
                )
                raise ConfigError(msg)
            lengths = np.array([b - a for a, b in pieces])
            chosen = generator.choice(len(pieces), size=n_rows, p=lengths / lengths.sum())
            starts = np.array([a for a, _ in pieces])
            columns.append(starts[chosen] + generator.random(n_rows) * lengths[chosen])
        return np.stack(columns, axis=1)


_NO_ROOT = Domain(minimum=0.0, reason="the square root of a negative number is not real")
_NO_ZERO = Domain(nonzero=True, reason="division by zero has no result")

OPERATIONS: MappingProxyType[str, Operation] = MappingProxyType(
    {
        operation.name: operation
        for operation in (
            Operation("add", ("a", "b"), "a + b", lambda x: x[:, 0] + x[:, 1]),
            Operation("subtract", ("a", "b"), "a - b", lambda x: x[:, 0] - x[:, 1]),
            Operation("multiply", ("a", "b"), "a * b", lambda x: x[:, 0] * x[:, 1]),
            Operation("divide", ("a", "b"), "a / b", lambda x: x[:, 0] / x[:, 1], {"b": _NO_ZERO}),
            Operation("square", ("a",), "a^2", lambda x: x[:, 0] ** 2),
            Operation("sqrt", ("a",), "sqrt(a)", lambda x: np.sqrt(x[:, 0]), {"a": _NO_ROOT}),
            Operation("reciprocal", ("a",), "1 / a", lambda x: 1.0 / x[:, 0], {"a": _NO_ZERO}),
        )
    }
)
"""Operation name → operation: those of the NALU paper's Table 1 (arXiv:1808.00508) and the reciprocal."""
