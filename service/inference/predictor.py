"""Rows in, predictions out: the domain before the run, finiteness after it."""

import time
from collections.abc import Mapping
from math import isfinite
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.contract.manifest import Domain, ModelManifest
from service.errors import MAX_FAULTS, Fault, InputOutOfDomainError, NonFinitePredictionError
from service.inference.encoding import Encoded
from service.inference.session import ModelSession

_FEW: Final = 64
"""Up to so many numbers are looked at faster one by one (0.5 µs) than with array functions (3 to 4 µs)."""

_OUTCOMES: Final[Mapping[type[Exception], str]] = {
    InputOutOfDomainError: "out-of-domain",
    NonFinitePredictionError: "non-finite",
}
"""What a run that gave no answer is counted as; any other is an error."""


class Prediction(NamedTuple):
    """What a model answered.

    Attributes:
        values: One row of outputs per input row, shape (n_rows, d_outputs), float64.
        in_range: Whether every number of the row lay in the range seen in training and, where the model has a joint
            range, the row and its answer are like those seen there, shape (n_rows,).
    """

    values: NDArray[np.float64]
    in_range: NDArray[np.bool_]


def predict(
    session: ModelSession,
    encoded: Encoded,
    deadline_s: float | None = None,
    *,
    tentative: bool = False,
    n_requests: int = 1,
) -> Prediction:
    """Answer encoded rows.

    Args:
        session: The model.
        encoded: The rows.
        deadline_s: Time after which the run is stopped, or None for no limit.
        tentative: Whether the same rows are asked for again where they have no answer, so that this is not counted.
        n_requests: Requests to which the rows belong.

    Raises:
        InputOutOfDomainError: When a row holds a value for which the model has no answer.
        NonFinitePredictionError: When the model answers NaN or infinity.
        InferenceError: When the run fails or is stopped.
    """
    meter = session.meter
    if meter is None:
        return _predict(session, encoded, deadline_s)
    started = time.perf_counter()
    try:
        prediction = _predict(session, encoded, deadline_s)
    except Exception as error:
        if not tentative:
            meter.failed(_OUTCOMES.get(type(error), "error"), time.perf_counter() - started)
        raise
    in_range = prediction.in_range
    n_outside = len(in_range) - in_range.tobytes().count(1)
    meter.answered(prediction.values, n_outside, time.perf_counter() - started, n_requests)
    return prediction


def _predict(session: ModelSession, encoded: Encoded, deadline_s: float | None) -> Prediction:
    if session.domains:
        _check_domain(session, encoded)
    if session.joint is None:
        values = session.run(encoded, deadline_s).astype(np.float64, copy=False)
        check_finite(session.manifest, values)
        return Prediction(values, encoded.in_range)
    answers, distance = session.run_marked(encoded, deadline_s)
    values = answers.astype(np.float64, copy=False)
    check_finite(session.manifest, values)
    return Prediction(values, encoded.in_range & session.joint.inside(values, distance))


def _check_domain(session: ModelSession, encoded: Encoded) -> None:
    """Compare in the graph's dtype: a divisor of 1e-50 is zero to a float32 graph."""
    faults: list[Fault] = []
    n_faults = 0
    for j, name, domain in session.domains:
        rows = np.flatnonzero(_outside(domain, encoded.numeric[:, j]))
        n_faults += len(rows)
        faults += [Fault(domain.reason, name, int(row)) for row in rows[:MAX_FAULTS]]
    if faults:
        raise InputOutOfDomainError(faults, n_faults)


def _outside(domain: Domain, values: NDArray[np.floating]) -> NDArray[np.bool_]:
    outside = np.zeros(len(values), dtype=np.bool_)
    if domain.minimum is not None:
        outside |= values < domain.minimum
    if domain.nonzero:
        outside |= values == 0
    return outside


def check_finite(manifest: ModelManifest, values: NDArray[np.float64]) -> None:
    """Refuse answers that are NaN or infinite.

    Args:
        manifest: The model's.
        values: Shape (n_rows, d_outputs).

    Raises:
        NonFinitePredictionError: When there are any.
    """
    if values.size <= _FEW and all(map(isfinite, values.ravel().tolist())):
        return
    wrong = ~np.isfinite(values)
    if not wrong.any():
        return
    rows, outputs = np.nonzero(wrong)
    faults = [
        Fault(
            "the prediction must be finite, however it is "
            + ("NaN" if np.isnan(values[row, j]) else "too large for the model's number type"),
            manifest.outputs[j].name,
            int(row),
        )
        for row, j in zip(rows[:MAX_FAULTS], outputs[:MAX_FAULTS], strict=True)
    ]
    raise NonFinitePredictionError(faults, len(rows))
