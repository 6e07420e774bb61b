"""What a certificate measures, and what gets none."""

import itertools
from decimal import Decimal

import mpmath
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from models.contract.certificate import Evidence
from models.contract.manifest import Certificate, Dtype
from training.certificate import TrainingRange, certify, grid_distance
from training.domains import LawDomain, law_domain
from training.errors import UnprovenError
from training.exact_results import exact_results
from training.fitting.law import Law, Layer, stack
from training.lowering import lower_network
from training.magnitudes import safe_magnitudes
from training.parity import GraphRunner, RawRows

EVIDENCE = Evidence(n_rows=100, noise=0.0, outlier_share=0.0)


def array(*rows: list[float]) -> NDArray[np.float64]:
    return np.array(rows, dtype=np.float64)


LAWS = {
    "a * b": stack("power", [("power", array([1, 1]))]),
    "a / b": stack("power", [("power", array([1, -1]))]),
    "sqrt(a) * b^4": stack("power", [("power", array([0.5, 4]))]),
    "a^(1/3) / b^1.5": stack("power", [("power", array([1 / 3, -1.5]))]),
    "2 * a / 3 - b": stack("sum", [("sum", array([2 / 3, -1]))]),
    "sqrt(a^2 + b^2)": stack(
        "norm", [("power", array([2, 0], [0, 2])), ("sum", array([1, 1])), ("power", array([0.5]))]
    ),
    "sqrt(a - b)": stack("root", [("sum", array([1, -1])), ("power", array([0.5]))]),
    "1 / (a - b)": stack("inverse", [("sum", array([1, -1])), ("power", array([-1]))]),
    "a + 2.5": Law("sum", (Layer("sum", array([1, 0]), np.array([2.5])),)),
}


def certificate(
    law: Law, dtype: Dtype = "float64", *, graph: bytes | None = None, low: float = -10.0, high: float = 10.0
) -> Certificate:
    terms = law.network().terms(["a", "b"])
    assert terms is not None
    return certify(
        law,
        law,
        lower_network(law.network(), dtype) if graph is None else graph,
        dtype,
        seen=TrainingRange(("a", "b"), np.full(2, low), np.full(2, high)),
        domain=law_domain(terms),
        evidence=EVIDENCE,
        seed=0,
        sparsity_error=0.0,
    )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("text", LAWS)
def test_a_law_is_within_a_few_roundings_of_arbitrary_precision_everywhere(text: str, dtype: Dtype) -> None:
    issued = certificate(LAWS[text], dtype)
    assert [region.factor for region in issued.regions] == [1, 10, 1e3, 1e6]
    for region in issued.regions:
        if region.n_rows or dtype == "float64":
            assert region.n_rows > 100
            assert region.max_relative_error is not None
            assert region.max_relative_error < 4 * np.finfo(dtype).eps


def test_rows_that_a_type_cannot_hold_are_left_out_and_said_to_be() -> None:
    issued = certificate(LAWS["sqrt(a) * b^4"], "float32", low=1e4, high=1e6)
    assert [region.n_rows > 0 for region in issued.regions] == [True, True, True, False]
    assert issued.regions[-1].max_relative_error is None
    assert issued.magnitudes == (1e-8, 1e8)


def test_what_it_speaks_for_is_told_by_input_and_as_conditions() -> None:
    issued = certificate(LAWS["a^(1/3) / b^1.5"], low=1, high=2)
    assert [one.holds_for for one in issued.inputs] == ["numbers of at least 0", "numbers above 0"]
    assert [one.seen for one in issued.inputs] == ["positive", "positive"]
    one_sided = certificate(LAWS["a / b"], low=-2, high=-1).inputs
    assert [one.holds_for for one in one_sided] == [
        "all numbers, trained on negative ones only",
        "numbers other than 0, trained on negative ones only",
    ]
    assert certificate(LAWS["1 / (a - b)"]).conditions == ("a - b != 0",)
    assert certificate(LAWS["sqrt(a - b)"]).conditions == ("a - b >= 0",)
    assert certificate(LAWS["sqrt(a^2 + b^2)"]).conditions == ()


def test_a_graph_that_is_off_by_a_few_parts_in_1e15_gets_none() -> None:
    model = onnx.load_model_from_string(lower_network(LAWS["2 * a / 3 - b"].network(), "float64"))
    divisor = next(initializer for initializer in model.graph.initializer if initializer.dims == [1, 1])
    divisor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(divisor) * (1 + 8e-15), divisor.name))
    with pytest.raises(UnprovenError, match="must err by no more than the bound"):
        certificate(LAWS["2 * a / 3 - b"], graph=model.SerializeToString())


def test_a_graph_that_answers_where_there_is_no_result_gets_none() -> None:
    model = onnx.load_model_from_string(lower_network(LAWS["sqrt(a - b)"].network(), "float64"))
    root = next(node for node in model.graph.node if node.op_type == "Sqrt")
    model.graph.node.insert(len(model.graph.node) - 1, onnx.helper.make_node("Abs", [root.input[0]], ["size"]))
    root.input[0] = "size"
    with pytest.raises(UnprovenError, match="no result where there is no real one"):
        certificate(LAWS["sqrt(a - b)"], graph=model.SerializeToString())


def test_a_law_without_results_in_its_range_gets_none() -> None:
    with pytest.raises(UnprovenError, match="none of the rows drawn there has"):
        certificate(
            stack("root", [("power", array([2, 0], [0, 2])), ("sum", array([-1, -1])), ("power", array([0.5]))])
        )


def test_the_oracle_is_that_of_another_arbitrary_precision_library() -> None:
    rows = np.random.default_rng(0).uniform(0.1, 5, (50, 2))
    with mpmath.workdps(60):
        for a, b, truth in zip(*rows.T, exact_results(LAWS["a^(1/3) / b^1.5"], rows), strict=True):
            expected = mpmath.cbrt(mpmath.mpf(a)) / mpmath.mpf(b) ** 1.5
            assert abs(mpmath.mpf(str(truth)) / expected - 1) < mpmath.mpf(10) ** -55
    third = exact_results(LAWS["2 * a / 3 - b"], np.array([[3.0, 2.0], [1.0, 0.0]]))
    assert third[0] == 0
    assert abs(third[1] * 3 - 2) < Decimal("1e-75")  # the weight is 2/3, not the float64 next to it


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("text", LAWS)
def test_nothing_over_or_underflows_at_the_ends_of_the_magnitudes(text: str, dtype: Dtype) -> None:
    law = LAWS[text]
    found = safe_magnitudes(law, dtype)
    assert found is not None
    ends = [sign * end for end in found for sign in (1, -1)]
    ends += [float(np.nextafter(np.dtype(dtype).type(end), np.dtype(dtype).type(1))) for end in found]
    rows = np.array(list(itertools.product(ends, ends))).astype(dtype).astype(np.float64)
    answers = GraphRunner(lower_network(law.network(), dtype), dtype)(RawRows(rows))[:, 0]
    for answer, truth in zip(answers, exact_results(law, rows), strict=True):
        if truth.is_finite() and truth:
            assert np.isfinite(answer)
            assert abs(Decimal(float(answer)) / truth - 1) < 8 * Decimal(float(np.finfo(dtype).eps))


def test_magnitudes_are_as_wide_as_they_can_be() -> None:
    assert safe_magnitudes(LAWS["a * b"], "float64") == (1e-153, 1e153)
    assert safe_magnitudes(LAWS["a * b"], "float32") == (1e-18, 1e18)
    assert safe_magnitudes(LAWS["1 / (a - b)"], "float64") == (1e-291, 1e291)  # 1 / a stops at 1e307
    assert safe_magnitudes(stack("sum", [("sum", array([1, 1]))]), "float64") == (1e-307, 1e307)
    assert safe_magnitudes(Law("sum", (Layer("sum", array([1]), np.array([1e300])),)), "float32") is None


def test_the_sparsity_error_is_the_distance_from_simple_values() -> None:
    assert grid_distance(LAWS["a^(1/3) / b^1.5"]) == 0
    assert grid_distance(stack("power", [("power", array([0.98, -1.003]))])) == pytest.approx(0.02)
    assert grid_distance(Law("sum", (Layer("sum", array([1]), np.array([2.1])),))) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("text", "inputs", "conditions"),
    [
        ("a * b", {}, []),
        ("a / b", {"b": (None, True)}, []),
        ("sqrt(a) * b^4", {"a": (0.0, False)}, []),
        ("a^(1/3) / b^1.5", {"a": (0.0, False), "b": (0.0, True)}, []),
        ("sqrt(a - b)", {}, ["a - b >= 0"]),
    ],
)
def test_the_domain_follows_from_the_law(
    text: str, inputs: dict[str, tuple[float | None, bool]], conditions: list[str]
) -> None:
    found = _domain(LAWS[text])
    assert {name: (one.minimum, one.nonzero) for name, one in found.inputs.items()} == inputs
    assert found.conditions == conditions


def test_the_domain_of_a_single_scaled_input_is_its_own() -> None:
    scaled = stack("root", [("sum", array([2, 0])), ("power", array([-0.5]))])
    found = _domain(scaled)
    assert found.inputs["a"].reason == (
        "the square root of a negative number is not real, and division by zero has no result"
    )
    assert found.inputs["a"].minimum == 0
    squared = stack("root", [("power", array([2, 0])), ("sum", array([2])), ("power", array([0.5]))])
    assert _domain(squared) == LawDomain({}, [])
    negated = stack("root", [("sum", array([-2, 0])), ("power", array([0.5]))])
    assert _domain(negated) == LawDomain({}, ["-2 * a >= 0"])


def _domain(law: Law) -> LawDomain:
    terms = law.network().terms(["a", "b"])
    assert terms is not None
    return law_domain(terms)
