"""The graph of a tabular model answers as the fitted pipeline does: gaps, unseen levels, far outside, both types."""

from dataclasses import replace

import numpy as np
import onnx
import pytest

from models.contract.manifest import Dtype
from service.inference.graph_scan import scan_graph
from training.export import CategoryCodes, Signature
from training.parity import GraphRunner, RawRows, compare
from training.tabular.fit import fit_table_model
from training.tabular.lowering import lower_table_model
from training.tabular.model import TabularModel
from training.tabular.network_settings import NetworkSettings
from training.tabular.networks import fit_network
from training.tabular.residual import SmoothResidual
from training.tabular.rows import Columns, Rows
from training.tabular.terms import Law
from training.tabular.tree_settings import TreeSettings
from training.tabular.trunks import KINDS, TrunkKind, fit_trunk, law_kind

GRADES = ("a", "b", "c")
HEATS = tuple(f"h{i:02d}" for i in range(19))
SIGNATURE = Signature(5, (CategoryCodes(GRADES, False), CategoryCodes(HEATS, True)))
N_CODES = (3, 20)
TREES = TreeSettings(n_trees=60, n_ensembles=2)
NETWORK = NetworkSettings(n_members=2, d_hidden=16, n_steps=100)
BOUND: dict[Dtype, float] = {"float64": 1e-9, "float32": 1e-5}


def process_rows(n_rows: int, seed: int) -> tuple[Rows, RawRows]:
    """Rows with gaps in all columns but the first, zeros in the fourth, a year in the fifth."""
    rng = np.random.default_rng(seed)
    numeric = rng.lognormal(size=(n_rows, 5))
    numeric[:, 3] *= rng.integers(0, 2, n_rows)
    numeric[:, 4] = rng.integers(2000, 2020, n_rows)
    numeric[:, 1:][rng.random((n_rows, 4)) < 0.05] = np.nan
    codes = np.stack([rng.integers(0, 3, n_rows), rng.integers(0, 20, n_rows)], axis=1)
    return Rows(numeric, codes), raw(numeric, codes)


def raw(numeric: np.ndarray, codes: np.ndarray) -> RawRows:
    text = np.array([[GRADES[a], (*HEATS, "", "never seen")[b]] for a, b in codes], dtype=object)
    return RawRows(numeric, text, codes)


def hard_rows() -> RawRows:
    """10,000 rows up to ten times outside, with a tenth of gaps and a tenth of unseen levels."""
    rng = np.random.default_rng(5)
    rows, _ = process_rows(10_000, 1)
    numeric = rows.numeric * rng.lognormal(0, 1, rows.numeric.shape)
    numeric[rng.random(numeric.shape) < 0.1] = np.nan
    codes = rows.codes.copy()
    codes[rng.random(len(codes)) < 0.1, 1] = -1
    return raw(numeric, codes)


@pytest.fixture(scope="module")
def model() -> TabularModel:
    rows, _ = process_rows(200, 0)
    filled = np.nan_to_num(rows.numeric, nan=1.0)
    product = filled[:, 0] * np.sqrt(filled[:, 1]) + 2 * rows.codes[:, 0] + np.sin(rows.codes[:, 1])
    line = filled[:, 0] - 2 * (filled[:, 4] - 2010) - 5
    return fit_table_model(rows, N_CODES, np.stack([product, line], axis=1), trees=TREES, networks=NETWORK).model


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("width", "wary"), [(None, True), (np.inf, False), (0.05, True)])
def test_the_graph_answers_as_the_pipeline_on_gaps_unseen_levels_and_far_outside(
    model: TabularModel, dtype: Dtype, width: float | None, wary: bool
) -> None:
    model = TabularModel(tuple(replace(one, width=width or one.width, wary=wary) for one in model.targets))
    graph = lower_table_model(model, SIGNATURE, dtype)
    rows = hard_rows()
    assert rows.numeric is not None
    assert rows.codes is not None
    expected = model.predict(Rows(rows.numeric, rows.codes))
    answer = GraphRunner(graph, dtype)(rows)
    assert answer.dtype == np.dtype(dtype)
    scale = np.maximum(np.abs(expected), np.abs(expected).mean(axis=0))
    assert (np.abs(answer - expected) / scale).max() < BOUND[dtype]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_targets_that_are_all_the_same_leave_no_division_by_nothing(model: TabularModel, dtype: Dtype) -> None:
    reaches = [replace(one.reach, target_range=(3.0, 3.0)) for one in model.targets]
    same = TabularModel(
        tuple(replace(one, width=0.05, reach=reach) for one, reach in zip(model.targets, reaches, strict=True))
    )
    rows = hard_rows()
    assert rows.numeric is not None
    assert rows.codes is not None
    expected = same.predict(Rows(rows.numeric.astype(dtype).astype(np.float64), rows.codes))
    answer = GraphRunner(lower_table_model(same, SIGNATURE, dtype), dtype)(rows)
    np.testing.assert_allclose(answer, expected, rtol=10 * BOUND[dtype], atol=10 * BOUND[dtype])


SUM: Law = (
    ((0, 1.0), (1, -2.0), (2, 0.5), (6, 1.0)),
    ((0, 2.0), (4, 1.0)),
    ((1, -0.5), (3, 0.5)),
    ((2, -1.0),),
    ((12, 1.0),),
)
POWER_LAW: Law = (((0, 1.0),), ((2, 1.0),), ((4, 1.0),), ((12, 1.0),))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", [law_kind(SUM), law_kind(POWER_LAW, "log")], ids=["sum", "power law"])
def test_a_law_answers_as_the_pipeline(model: TabularModel, kind: TrunkKind, dtype: Dtype) -> None:
    rows, _ = process_rows(200, 0)
    filled = np.nan_to_num(rows.numeric, nan=1.0)
    fit = fit_trunk(kind, rows, N_CODES, filled[:, 0] / filled[:, 2])
    assert fit is not None
    lawful = TabularModel(tuple(replace(target, trunks=(fit.trunk,), wary=False) for target in model.targets))
    given = hard_rows()
    assert given.numeric is not None
    assert given.codes is not None
    expected = lawful.predict(Rows(given.numeric.astype(dtype).astype(np.float64), given.codes))
    answer = GraphRunner(lower_table_model(lawful, SIGNATURE, dtype), dtype)(given)
    scale = np.maximum(np.abs(expected), np.abs(expected).mean(axis=0))
    assert (np.abs(answer - expected) / scale).max() < BOUND[dtype]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_networks_in_trunk_and_residual_answer_as_the_pipeline(model: TabularModel, dtype: Dtype) -> None:
    rows, _ = process_rows(200, 0)
    products = np.asarray(np.exp(rows.numeric[:, 0]) + rows.codes[:, 1], dtype=np.float64)
    trunks = []
    for kind in KINDS:
        fit = fit_trunk(kind, rows, N_CODES, products, networks=NETWORK) if kind.networked else None
        trunks += [] if fit is None else [fit.trunk]
    assert {trunk.kind.link for trunk in trunks} == {"identity", "log"}
    columns = Columns.fit(rows, N_CODES, "log")
    smooth = SmoothResidual(columns, fit_network(rows, columns(rows), products, NETWORK, 0, frozen=True).network)
    networked = TabularModel(
        tuple(replace(model.targets[0], trunks=(trunk,), smooth=smooth, width=np.inf) for trunk in trunks)
    )
    given = hard_rows()
    assert given.numeric is not None
    assert given.codes is not None
    numeric = given.numeric.astype(dtype).astype(np.float64)
    expected = networked.predict(Rows(numeric, given.codes))
    answer = GraphRunner(lower_table_model(networked, SIGNATURE, dtype), dtype)(given)
    scale = np.maximum(np.abs(expected), np.abs(expected).mean(axis=0))
    assert (np.abs(answer - expected) / scale).max() < BOUND[dtype]


def test_batches_of_one_two_and_a_thousand_agree(model: TabularModel) -> None:
    graph = lower_table_model(model, SIGNATURE, "float64")

    def pipeline(rows: RawRows) -> np.ndarray:
        assert rows.numeric is not None
        assert rows.codes is not None
        return model.predict(Rows(rows.numeric, rows.codes))

    compare(graph, {"numpy": pipeline}, "float64", {"outside": hard_rows()}, np.array([1.0, 1.0]), 1e-9)


def test_the_service_accepts_the_graph_and_equal_models_give_equal_bytes(model: TabularModel) -> None:
    graph = lower_table_model(model, SIGNATURE, "float32")
    scan_graph(graph)
    assert graph == lower_table_model(model, SIGNATURE, "float32")
    domains = {entry.domain for entry in onnx.load_model_from_string(graph).opset_import}
    assert domains == {"", "ai.onnx.ml"}


def test_a_table_of_categories_alone_and_one_without_a_residual_are_lowered() -> None:
    rows, given = process_rows(80, 0)
    only = Rows(np.zeros((80, 0)), rows.codes)
    targets = (rows.codes[:, :1] * 3.0 + rows.codes[:, 1:] % 4).astype(np.float64)
    fitted = fit_table_model(only, N_CODES, targets, trees=TREES, networks=NETWORK).model
    signature = Signature(0, SIGNATURE.categories)
    answer = GraphRunner(lower_table_model(fitted, signature, "float64"), "float64")(RawRows(None, given.text))
    np.testing.assert_allclose(answer, fitted.predict(only), rtol=1e-12, atol=1e-12)
    bare = TabularModel((replace(fitted.targets[0], forest=None, columns=None, smooth=None),))
    answer = GraphRunner(lower_table_model(bare, signature, "float64"), "float64")(RawRows(None, given.text))
    np.testing.assert_allclose(answer, bare.predict(only), rtol=1e-12, atol=1e-12)


def test_trees_of_one_leaf_and_a_committee_of_one_are_lowered(model: TabularModel) -> None:
    from training.tabular.forest import Forest

    rows, given = process_rows(50, 0)
    small = tuple(
        replace(one, trunks=one.trunks[:n], forest=Forest.of_constant(2.0), wary=n == 2)
        for n, one in zip((1, 2), model.targets, strict=True)
    )
    answer = GraphRunner(lower_table_model(TabularModel(small), SIGNATURE, "float64"), "float64")(given)
    np.testing.assert_allclose(answer, TabularModel(small).predict(rows), rtol=1e-9, atol=1e-9)
