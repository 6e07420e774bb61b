"""What a search for an exact law ended in → what is published: the law lowered and certified, or what stands for it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from models.contract.certificate import Evidence
from models.contract.manifest import Certificate, Dtype, Formula
from models.formula import formula_of
from training.certificate import TrainingRange, certify, grid_distance
from training.domains import LawDomain, law_domain
from training.errors import ExportError, NotFoundError
from training.export import Signature, export_network
from training.fitting.law import Floats, Law, Layer
from training.fitting.outcome import Found, NotFound
from training.lowering import lower_network


@dataclass(frozen=True)
class LawModel:
    """A law to publish.

    Attributes:
        law: The law, on the inputs kept.
        names: Names of the inputs kept.
        positions: Their positions among those searched.
        lowered: Whether the graph is of native operators; an approximation's is exported as any network's.
        domain: Where it has a result.
        formula: What it computes, or None for an approximation.
        certificate: Proof that it is exact, or None.
        remark: Why there is no certificate, or None; a law found through noise is likely, not proven.
    """

    law: Law
    names: tuple[str, ...]
    positions: tuple[int, ...]
    lowered: bool
    domain: LawDomain
    formula: Formula | None
    certificate: Certificate | None
    remark: str | None

    def graph(self, dtype: Dtype) -> bytes:
        """Return the ONNX file.

        Raises:
            ExportError: When it cannot be made.
        """
        network = self.law.network()
        return (
            lower_network(network, dtype)
            if self.lowered
            else export_network(network, Signature(len(self.names)), dtype)
        )


def law_model(
    outcome: Found | NotFound,
    names: tuple[str, ...],
    rows: Floats,
    *,
    dtype: Dtype,
    seed: int,
    allow_inexact: bool = False,
    remedy: str = "give more rows",
    only_used: bool = False,
) -> LawModel:
    """Return what to publish for a search's outcome.

    Args:
        outcome: What the search ended in.
        names: Names of the inputs.
        rows: Rows that the search had, shape (n, d), finite.
        dtype: Floating-point type to certify in.
        seed: Seed of the search.
        allow_inexact: Whether the best approximation may be published where no exact law was found.
        remedy: What may find something where nothing was found.
        only_used: Whether to leave out inputs that an exact law does not use.

    Raises:
        NotFoundError: When nothing exact was found, and `allow_inexact` is not set.
        UnprovenError: When a law was found whose graph does not hold what it promises.
    """
    if isinstance(outcome, NotFound):
        if not allow_inexact:
            msg = (
                f"an exact law must explain the rows, however none was found among {outcome.report.n_fit_rows} rows to "
                f"fit and {outcome.report.n_held_out_rows} to choose by: {outcome.reason}; {remedy}, or "
                "publish the best approximation with --allow-inexact"
            )
            raise NotFoundError(msg)
        everything = tuple(range(len(names)))
        return LawModel(outcome.ordinary, names, everything, False, LawDomain(), None, None, outcome.reason)
    used = _used(outcome.snapped) if only_used else tuple(range(len(names)))
    names = tuple(names[position] for position in used)
    raw, snapped = _in_order(_restricted(outcome.raw, used), _restricted(outcome.snapped, used))
    terms = snapped.network().terms(names)
    if terms is None:
        msg = "a law must be sums and products of powers, however it has other units"
        raise ExportError(msg)
    domain = law_domain(terms)
    if not outcome.proven:
        remark = f"the rows agree with it only within noise of {outcome.noise:.2g}, which another law may do too"
        return LawModel(snapped, names, used, True, domain, formula_of(terms), None, remark)
    certificate = certify(
        raw,
        snapped,
        lower_network(snapped.network(), dtype),
        dtype,
        seen=TrainingRange.of(names, rows[:, used]),
        domain=domain,
        evidence=Evidence(n_rows=len(rows), noise=outcome.noise, outlier_share=outcome.outlier_share),
        seed=seed,
        sparsity_error=grid_distance(outcome.raw),
    )
    return LawModel(snapped, names, used, True, domain, formula_of(terms), certificate, None)


def law_report(outcome: Found | NotFound, names: tuple[str, ...]) -> dict[str, Any]:
    """Return what a search did, for JSON; the seconds it took stand under a key of their own."""
    report = outcome.report
    content: dict[str, Any] = {
        "found": isinstance(outcome, Found),
        "inputs": list(names),
        "rows": {"fit": report.n_fit_rows, "held_out": report.n_held_out_rows},
    }
    if isinstance(outcome, Found):
        content |= {
            "chosen": outcome.snapped.structure,
            "noise": outcome.noise,
            "outlier_share": outcome.outlier_share,
            "raw": _layers(outcome.raw),
            "snapped": _layers(outcome.snapped),
        }
    else:
        ordinary = outcome.ordinary
        content |= {"chosen": ordinary.structure, "reason": outcome.reason, "ordinary": _layers(ordinary)}
    content["candidates"] = [
        {
            "structure": candidate.structure,
            "stage": candidate.stage,
            "law": None if candidate.law is None else law_text(candidate.law, names),
            "held_out_error": _finite(candidate.held_out_error),
            "verdict": candidate.verdict,
            "restarts": candidate.n_restarts,
            "iterations": candidate.n_iterations,
        }
        for candidate in report.candidates
    ]
    content["seconds"] = {
        "search": round(report.duration_s, 4),
        "candidates": [round(candidate.duration_s, 4) for candidate in report.candidates],
    }
    return content


def law_text(law: Law, names: tuple[str, ...]) -> str:
    """Return a law as text."""
    terms = law.network().terms(names)
    return "" if terms is None else formula_of(terms).text


def _finite(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) else None


def _layers(law: Law) -> list[dict[str, Any]]:
    return [
        {
            "kind": layer.kind,
            "weight": layer.weight.tolist(),
            "bias": None if layer.bias is None else layer.bias.tolist(),
        }
        for layer in law.layers
    ]


def _used(law: Law) -> tuple[int, ...]:
    """Return the positions of the inputs that a law's first layer reads; all of them for a constant."""
    read = np.flatnonzero((law.layers[0].weight != 0).any(axis=0)).tolist()
    return tuple(read or range(law.layers[0].weight.shape[1]))


def _restricted(law: Law, positions: tuple[int, ...]) -> Law:
    """Return a law on some of its inputs; a product with a power of another input goes with it."""
    first, *rest = law.layers
    columns = list(positions)
    kept = list(range(len(first.weight)))
    if first.kind == "power" and rest:
        others = np.delete(first.weight, columns, axis=1)
        kept = [k for k in kept if (np.abs(others[k]) <= 0.25).all()]
        rest[0] = Layer(rest[0].kind, rest[0].weight[:, kept], rest[0].bias)
    bias = None if first.bias is None else first.bias[kept]
    return Law(law.structure, (Layer(first.kind, first.weight[kept][:, columns], bias), *rest))


def _in_order(raw: Law, snapped: Law) -> tuple[Law, Law]:
    """Return both laws with every layer's outputs in the order of the inputs that they start from.

    A fit gives them in the order in which its starts happened to find them; `(a + b) * (c - d)` reads better than
    `(c - d) * (a + b)`. Where the fitted law has other outputs than the snapped one, it keeps its own order.
    """
    for depth in range(len(snapped.layers) - 1):
        rows = snapped.layers[depth].weight.tolist()
        keys = [[(i, -weight) for i, weight in enumerate(row) if weight] for row in rows]
        order = sorted(range(len(rows)), key=keys.__getitem__)
        if len(raw.layers) > depth and raw.layers[depth].weight.shape == snapped.layers[depth].weight.shape:
            raw = _permuted(raw, depth, order)
        snapped = _permuted(snapped, depth, order)
    return raw, snapped


def _permuted(law: Law, depth: int, order: list[int]) -> Law:
    layers = list(law.layers)
    one, after = layers[depth], layers[depth + 1]
    layers[depth] = Layer(one.kind, one.weight[order], None if one.bias is None else one.bias[order])
    layers[depth + 1] = Layer(after.kind, after.weight[:, order], after.bias)
    return Law(law.structure, tuple(layers))
