"""The exactness certificate of a law: its lowered graph compared with arbitrary precision, far outside its range."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

import numpy as np

from models.contract.certificate import CertifiedInput, CertifiedRegion, Evidence, LawLayer
from models.contract.manifest import Certificate, Domain, Dtype
from training.domains import LawDomain
from training.errors import UnprovenError
from training.exact_results import Results, exact_results
from training.fitting.law import Floats, Law
from training.fitting.snapping import POWER_GRID, SUM_GRID
from training.magnitudes import safe_magnitudes
from training.parity import GraphRunner, RawRows

FACTORS = (1.0, 10.0, 1e3, 1e6)
"""Multiples of the training range at which a law is measured; they choose nothing."""

N_ROWS = 500
"""Rows measured at each, half of them with signs of their own: an error that one row in a hundred has is met with a
probability of 0.993."""

_ROUNDINGS = 4
"""Roundings granted to every operation of the law: the lowered graph needs at most three (a fourth power)."""

BOUND = (
    f"an error of {_ROUNDINGS} roundings in every sum and every power, carried through the law to the result "
    "(first order)"
)

_N_DRAWS = 20
"""Batches drawn at most for rows in which the law has a result."""


@dataclass(frozen=True)
class TrainingRange:
    """The values that training rows had, by input.

    Attributes:
        names: Input names.
        low: Smallest value of each, shape (d,).
        high: Largest value of each.
    """

    names: tuple[str, ...]
    low: Floats
    high: Floats

    @classmethod
    def of(cls, names: tuple[str, ...], rows: Floats) -> "TrainingRange":
        """Return the range of rows, shape (n, d)."""
        return cls(names, rows.min(axis=0), rows.max(axis=0))

    def sign(self, position: int) -> Literal["positive", "negative", "both"]:
        """Return the signs that an input had."""
        if self.low[position] >= 0:
            return "positive"
        return "negative" if self.high[position] <= 0 else "both"


def certify(
    raw: Law,
    snapped: Law,
    graph: bytes,
    dtype: Dtype,
    *,
    seen: TrainingRange,
    domain: LawDomain,
    evidence: Evidence,
    seed: int,
    sparsity_error: float,
) -> Certificate:
    """Measure a lowered law and issue its certificate.

    Args:
        raw: The law as fitted.
        snapped: The law that the graph was lowered from.
        graph: The ONNX file, as it is served.
        dtype: Its floating-point type.
        seen: The training range.
        domain: Where the law has a result.
        evidence: The rows it was found in.
        seed: Seed of the search, and of the rows measured.
        sparsity_error: Largest distance of a fitted weight from a simple value.

    Raises:
        UnprovenError: When a result differs from the exact one by more than the bound, the graph answers where the law
            has no result, or no row can be measured.
    """
    magnitudes = safe_magnitudes(snapped, dtype)
    if magnitudes is None:
        msg = (
            f"a certified law must have magnitudes that {dtype} can compute it for, however it over- or underflows; "
            "scale the columns, or take --dtype float64"
        )
        raise UnprovenError(msg)
    run = GraphRunner(graph, dtype)
    generator = np.random.default_rng(seed)
    regions = []
    for factor in FACTORS:
        rows = _draw(snapped, seen, factor, magnitudes, domain.inputs, dtype, generator)
        regions.append(_measure(snapped, run, rows, factor, dtype))
    if not regions[0].n_rows:
        msg = (
            f"a certified law must have results in {dtype} inside its training range, however none of the rows drawn "
            "there has; scale the columns, or take --dtype float64"
        )
        raise UnprovenError(msg)
    return Certificate(
        dtype=dtype,
        seed=seed,
        raw=_layers(raw),
        snapped=_layers(snapped),
        sparsity_error_before=sparsity_error,
        sparsity_error_after=grid_distance(snapped),
        regions=tuple(regions),
        bound=BOUND,
        evidence=evidence,
        inputs=tuple(
            CertifiedInput(
                name=name,
                domain=domain.inputs.get(name),
                seen=seen.sign(position),
                holds_for=_words(domain.inputs.get(name), seen.sign(position)),
            )
            for position, name in enumerate(seen.names)
        ),
        conditions=tuple(domain.conditions),
        magnitudes=magnitudes,
    )


def grid_distance(law: Law) -> float:
    """Return the largest distance of a weight from the simple values that snapping knows."""
    worst = 0.0
    for layer in law.layers:
        grid = POWER_GRID if layer.kind == "power" else SUM_GRID
        for values in (layer.weight.ravel(), np.zeros(0) if layer.bias is None else layer.bias):
            worst = max(worst, float(np.abs(values - grid.round(values)).max(initial=0.0)))
    return worst


def _draw(
    law: Law,
    seen: TrainingRange,
    factor: float,
    magnitudes: tuple[float, float],
    domains: Mapping[str, Domain],
    dtype: Dtype,
    generator: np.random.Generator,
) -> Floats:
    """Draw rows from a multiple of the training range in which inputs can be answered and nothing overflows."""
    minimum = np.array([-np.inf if (d := domains.get(name)) is None or d.minimum is None else d.minimum
                        for name in seen.names])  # fmt: skip
    nonzero = np.array([name in domains and domains[name].nonzero for name in seen.names])
    kept: list[Floats] = []
    n_real = 0
    for _ in range(_N_DRAWS):
        rows = factor * generator.uniform(seen.low, seen.high, (N_ROWS, len(seen.names)))
        rows[::2] *= generator.choice([-1.0, 1.0], rows[::2].shape)
        rows = rows.astype(dtype).astype(np.float64)
        size = np.abs(rows)
        good = (rows >= minimum) & ~(nonzero & (rows == 0))
        good &= (size == 0) | ((size >= magnitudes[0]) & (size <= magnitudes[1]))
        kept.append(rows[good.all(axis=1)])
        n_real += int(np.isfinite(law.evaluate(kept[-1])).sum())
        if n_real >= N_ROWS:
            break
    return np.concatenate(kept)


def _measure(law: Law, run: GraphRunner, rows: Floats, factor: float, dtype: Dtype) -> CertifiedRegion:
    exact = exact_results(law, rows)
    answers = np.asarray(run(RawRows(rows))[:, 0], dtype=np.float64)
    real = np.array([value.is_finite() for value in exact], dtype=bool)
    if np.isfinite(answers[~real]).any():
        msg = (
            f"a certified law must have no result where there is no real one, however at {factor:g} times the training "
            "range its graph answers there; this is a fault of ours: please report it with the law"
        )
        raise UnprovenError(msg)
    rows, exact, answers = rows[real][:N_ROWS], exact[real][:N_ROWS], answers[real][:N_ROWS]
    if not len(rows):
        return CertifiedRegion(factor=factor, n_rows=0, max_relative_error=None, max_share_of_bound=None)
    errors = _errors(answers, exact)
    scale = float(np.finfo(dtype).eps) / float(np.finfo(np.float64).eps)
    bound = _ROUNDINGS * scale * law.rounding_bound(rows)
    size = np.array([float(abs(value)) for value in exact])
    with np.errstate(all="ignore"):
        share = np.where(errors == 0, 0.0, errors / bound)
        relative = np.where(errors == 0, 0.0, errors / size)
    if not (share <= 1).all() or not np.isfinite(relative).all():
        msg = (
            f"a certified law must err by no more than the bound ({BOUND}), however at {factor:g} times the training "
            f"range its graph errs by {np.nanmax(share):.3g} bounds, {np.nanmax(relative):.3g} of the result; "
            "this is a fault of ours: please report it with the law"
        )
        raise UnprovenError(msg)
    return CertifiedRegion(
        factor=factor,
        n_rows=len(rows),
        max_relative_error=float(relative.max()),
        max_share_of_bound=float(share.max()),
    )


def _errors(answers: Floats, exact: Results) -> Floats:
    return np.array(
        [
            float(abs(Decimal(answer) - truth)) if np.isfinite(answer) else np.inf
            for answer, truth in zip(answers.tolist(), exact, strict=True)
        ]
    )


def _layers(law: Law) -> tuple[LawLayer, ...]:
    return tuple(
        LawLayer(
            kind=layer.kind,
            weight=tuple(tuple(row) for row in layer.weight.tolist()),
            bias=None if layer.bias is None else tuple(layer.bias.tolist()),
        )
        for layer in law.layers
    )


def _words(domain: Domain | None, seen: Literal["positive", "negative", "both"]) -> str:
    words = "all numbers"
    if domain is not None:
        words = {
            (True, True): "numbers above 0",
            (True, False): "numbers of at least 0",
            (False, True): "numbers other than 0",
            (False, False): "all numbers",
        }[domain.minimum is not None, domain.nonzero]
    one_sided = seen != "both" and (domain is None or domain.minimum is None)
    return f"{words}, trained on {seen} ones only" if one_sided else words
