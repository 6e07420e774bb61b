"""The bytes of an answer with prediction intervals or explanations."""

from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from service.inference.session import ModelSession
from service.inference.trust import Asked, Explained, Trusted


def trusted_answer(session: ModelSession, trusted: Trusted, asked: Asked, *, split: bool) -> bytes:
    """Return the answer to a request that asked for more than predictions.

    Args:
        session: The model.
        trusted: What it answered.
        asked: What was asked for.
        split: Whether the request, and so the answer, is in the split form.
    """
    manifest, names = session.manifest, session.output_names

    def rows(values: NDArray[np.float64]) -> list[Any]:
        listed: list[Any] = values.tolist()
        return listed if split else [dict(zip(names, row, strict=True)) for row in listed]

    answer: dict[str, object] = {"model": manifest.name, "version": manifest.version}
    if split:
        answer["columns"] = names
    answer["data" if split else "predictions"] = rows(trusted.prediction.values)
    answer["in_range"] = trusted.prediction.in_range.tolist()
    if trusted.lower is not None and trusted.upper is not None:
        answer |= {"interval": asked.interval, "lower": rows(trusted.lower), "upper": rows(trusted.upper)}
    if trusted.explained is not None and manifest.terms is not None:
        by_output = [
            _explanations(explained, output.names)
            for explained, output in zip(trusted.explained, manifest.terms, strict=True)
        ]
        answer["explanations"] = [dict(zip(names, row, strict=True)) for row in zip(*by_output, strict=True)]
    return orjson.dumps(answer)


def _explanations(explained: Explained, names: tuple[str, ...]) -> list[dict[str, object]]:
    columns = zip(*(part.tolist() for part in explained), strict=True)
    return [
        {"constant": constant, "terms": dict(zip(names, terms, strict=True)), "held": held, "residual": residual}
        for constant, terms, held, residual in columns
    ]
