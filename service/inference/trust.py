"""Predictions with what was asked beside them: intervals, and what each answer is made of."""

import time
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.contract.manifest import ModelManifest
from models.contract.trust import DIFFICULTY_TENSOR, TERMS_TENSOR, TRUNK_TENSOR
from service.errors import Fault, InvalidRequestError, NotOfferedError
from service.inference.encoding import Encoded
from service.inference.predictor import Prediction, check_finite, predict
from service.inference.session import ModelSession

Floats = NDArray[np.float64]

_ROUNDING = 1e-12
"""Share of the terms' magnitudes that is taken for rounding, and not for the trunk being held back."""


class Asked(NamedTuple):
    """What a request asks for beside predictions.

    Attributes:
        interval: Level of prediction intervals, or None for none.
        explain: Whether to tell what each answer is made of.
    """

    interval: float | None = None
    explain: bool = False

    @property
    def anything(self) -> bool:
        """Whether anything is asked for."""
        return self.interval is not None or self.explain


class Explained(NamedTuple):
    """What the answers for one output are made of; constant, terms, held and residual add up to the prediction.

    Attributes:
        constant: What the trunk answers where every term is 0, shape (n_rows,).
        terms: What each set of columns adds, shape (n_rows, n_terms).
        held: What the trunk was held back by, far outside the training range, shape (n_rows,).
        residual: What the boosted trees and networks add, shape (n_rows,).
    """

    constant: Floats
    terms: Floats
    held: Floats
    residual: Floats


class Trusted(NamedTuple):
    """What a model answered, with what was asked beside it.

    Attributes:
        prediction: The predictions.
        lower: Lower ends of the intervals, shape (n_rows, d_outputs), or None where none were asked for.
        upper: Upper ends, likewise.
        explained: For each output, or None where it was not asked for.
    """

    prediction: Prediction
    lower: Floats | None = None
    upper: Floats | None = None
    explained: tuple[Explained, ...] | None = None


def check_offered(manifest: ModelManifest, asked: Asked) -> None:
    """Refuse what a model does not have.

    Raises:
        NotOfferedError: When it has no intervals, or no terms.
        InvalidRequestError: When its intervals do not go up to the level asked for.
    """
    for wanted, there, what in (
        (asked.interval is not None, manifest.intervals, "prediction intervals (`interval`)"),
        (asked.explain, manifest.terms, "terms (`explain`)"),
    ):
        if wanted and there is None:
            msg = (
                f"a model must carry {what} to answer with them, however {manifest.name!r} version {manifest.version} "
                "does not; ask without, or publish one that does: `nalu train table` gives both"
            )
            raise NotOfferedError(msg)
    if asked.interval is not None and manifest.intervals is not None:
        largest = manifest.intervals.largest_level
        if asked.interval > largest:
            rule = (
                f"`interval` must be at most {largest:g} for this model, calibrated on {manifest.intervals.n_rows} rows"
            )
            raise InvalidRequestError([Fault(f"{rule}, however it is {asked.interval:g}")])


def predict_trusted(session: ModelSession, encoded: Encoded, asked: Asked, deadline_s: float | None = None) -> Trusted:
    """Answer encoded rows, with what was asked beside the predictions.

    Args:
        session: The model.
        encoded: The rows.
        asked: What is wanted; the model offers it.
        deadline_s: Time after which the runs are stopped, or None for no limit.

    Raises:
        InputOutOfDomainError: When a row holds a value for which the model has no answer.
        NonFinitePredictionError: When a prediction, an end of an interval or a term is not finite.
        InferenceError: When a run fails or is stopped.
    """
    manifest = session.manifest
    started = time.monotonic()
    prediction = predict(session, encoded, deadline_s)
    left_s = None if deadline_s is None else max(0.0, deadline_s - (time.monotonic() - started))
    result = Trusted(prediction)
    if asked.interval is not None and manifest.intervals is not None:
        (difficulty,) = session.run_companion(encoded, [DIFFICULTY_TENSOR], left_s)
        scores = [output.score(asked.interval) for output in manifest.intervals.outputs]
        with np.errstate(over="ignore"):
            half = difficulty * np.array([np.inf if score is None else score for score in scores])
            result = result._replace(lower=prediction.values - half, upper=prediction.values + half)
        check_finite(manifest, half)
    if asked.explain and manifest.terms is not None:
        trunk, terms = session.run_companion(encoded, [TRUNK_TENSOR, TERMS_TENSOR], left_s)
        check_finite(manifest, trunk)
        explained, start = [], 0
        for j, output in enumerate(manifest.terms):
            stop = start + 1 + len(output.names)
            parts = terms[:, start:stop]
            held = trunk[:, j] - parts.sum(axis=1)
            held[np.abs(held) <= _ROUNDING * np.abs(parts).sum(axis=1)] = 0.0
            explained.append(Explained(parts[:, 0], parts[:, 1:], held, prediction.values[:, j] - trunk[:, j]))
            start = stop
        result = result._replace(explained=tuple(explained))
    return result
