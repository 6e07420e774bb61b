"""The companion's difficulty, trunk and terms, and the distance, are those of the fitted pipeline, far outside too."""

from dataclasses import replace

import numpy as np
import pytest

from models.contract.manifest import CATEGORICAL_TENSOR, NUMERIC_TENSOR, Dtype
from models.contract.trust import DIFFICULTY_TENSOR, DISTANCE_TENSOR, TERMS_TENSOR, TRUNK_TENSOR
from training.export import CategoryCodes, Signature
from training.parity import GraphRunner
from training.tabular.companion import companion_reference, lower_companion
from training.tabular.explaining import NETWORK_NAME, Terms
from training.tabular.fit import TabularFit, fit_table_model
from training.tabular.lowering import lower_table_model
from training.tabular.model import TabularModel, TargetModel
from training.tabular.network_settings import NetworkSettings
from training.tabular.rows import Floats, Rows
from training.tabular.tree_settings import TreeSettings
from training.tabular.trunks import KINDS, TrunkKind, fit_trunk, law_kind
from training.tabular.trust import Trust, fit_trust

SIGNATURE = Signature(3, (CategoryCodes(("a", "b"), True),))
N_CODES = (3,)
COLUMNS = ("p", "q", "r", "kind")
NETWORK = NetworkSettings(n_members=2, d_hidden=16, n_steps=100)


def rows_of(n_rows: int, seed: int, spread: float = 1.0) -> Rows:
    """Positive columns, the second with gaps, and a category with gaps and, where `spread` is not 1, unseen levels."""
    rng = np.random.default_rng(seed)
    numeric = rng.lognormal(size=(n_rows, 3)) * rng.lognormal(0, spread, (n_rows, 3))
    numeric[rng.random(n_rows) < 0.1, 1] = np.nan
    return Rows(numeric, rng.integers(-1 if spread > 1 else 0, 3, (n_rows, 1)))


def feed(rows: Rows, dtype: Dtype) -> dict[str, np.ndarray]:
    text = np.array([("a", "b", "", "never seen")[code] for code in rows.codes[:, 0]], dtype=object)[:, None]
    return {NUMERIC_TENSOR: rows.numeric.astype(dtype), CATEGORICAL_TENSOR: text}


@pytest.fixture(scope="module", name="fitted")
def _fitted() -> tuple[TabularFit, Trust, list[Terms]]:
    rows = rows_of(200, 0)
    rng = np.random.default_rng(1)
    p, q, r = np.nan_to_num(rows.numeric, nan=1.0).T
    power = p * np.sqrt(q) / r * np.exp(0.1 * rng.normal(size=200)) * (1 + (rows.codes[:, 0] == 1))
    line = 3 * p - 2 * r + rng.normal(size=200) * p
    targets = np.stack([power, line], axis=1)
    fit = fit_table_model(rows, N_CODES, targets, trees=TreeSettings(n_trees=30, n_ensembles=2), networks=NETWORK)
    wary, free = fit.model.targets
    fit = replace(fit, model=TabularModel((replace(wary, wary=True), replace(free, wary=False))))
    trust = fit_trust(rows, N_CODES, targets, fit)
    return fit, trust, [Terms.of(target, COLUMNS) for target in fit.model.targets]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_companion_answers_as_what_was_fitted(fitted: tuple[TabularFit, Trust, list[Terms]], dtype: Dtype) -> None:
    fit, trust, terms = fitted
    links = {trunk.kind.link for target in fit.model.targets for trunk in target.trunks}
    assert links == {"identity", "log"}
    onnx = lower_companion(fit.model, trust, terms, SIGNATURE, dtype)
    assert onnx == lower_companion(fit.model, trust, terms, SIGNATURE, dtype)
    rows = rows_of(2000, 2, spread=2.0)
    given = Rows(rows.numeric.astype(dtype).astype(np.float64), rows.codes)
    runner = GraphRunner(onnx, dtype)
    for name, expected in companion_reference(fit.model, trust, terms, given).items():
        answer = runner.run(feed(rows, dtype), name)
        assert answer.dtype == np.float64
        np.testing.assert_allclose(answer, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max(), err_msg=name)
    graph = GraphRunner(lower_table_model(fit.model, SIGNATURE, dtype, trust.landmarks), dtype)
    distance = graph.run(feed(rows, dtype), DISTANCE_TENSOR)[:, 0]
    np.testing.assert_allclose(distance, trust.landmarks.distance(given), rtol=1e-5, atol=1e-6)


def test_terms_add_up_to_the_trunk_wherever_it_is_not_held_back(
    fitted: tuple[TabularFit, Trust, list[Terms]],
) -> None:
    fit, _, terms = fitted
    inside, outside = rows_of(300, 3), rows_of(300, 4, spread=1.5)
    for target, one in zip(fit.model.targets, terms, strict=True):
        for rows in (inside, outside):
            sums, trunk = one(rows).sum(axis=1), target.trunk(rows)
            held = ~np.isclose(sums, trunk, rtol=1e-9, atol=1e-9 * np.abs(trunk).max())
            assert held.mean() <= (0.01 if rows is inside else 0.2)
        assert set(" × ".join(one.names).split(" × ")) <= {*COLUMNS, NETWORK_NAME}


def assert_same(target: TargetModel, terms: Terms, trust: Trust, rows: Rows) -> None:
    single = replace(trust, answers=trust.answers[:1], intervals=trust.intervals[:1])
    model = TabularModel((target,))
    runner = GraphRunner(lower_companion(model, single, [terms], SIGNATURE, "float64"), "float64")
    for name, expected in companion_reference(model, single, [terms], rows).items():
        answer = runner.run(feed(rows, "float64"), name)
        np.testing.assert_allclose(answer, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max(), err_msg=name)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.networked], ids=lambda kind: kind.name)
def test_a_network_is_a_term_beside_those_of_its_linear_part(
    fitted: tuple[TabularFit, Trust, list[Terms]], kind: TrunkKind
) -> None:
    fit, trust, _ = fitted
    rows = rows_of(100, 7)
    targets = np.asarray(np.nan_to_num(rows.numeric, nan=1.0).prod(axis=1), dtype=np.float64)
    trunk = fit_trunk(kind, rows, N_CODES, targets, networks=NETWORK)
    assert trunk is not None
    target = replace(fit.model.targets[0], trunks=(trunk.trunk,))
    terms = Terms.of(target, COLUMNS)
    assert set(terms.names) == {*COLUMNS, NETWORK_NAME}
    sums, answers = terms(rows).sum(axis=1), target.trunk(rows)
    assert np.isclose(sums, answers, rtol=1e-9).mean() > 0.95
    assert_same(target, terms, trust, rows)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (law_kind((((0, 1.0), (1, 0.5), (2, -1.0)), ((2, 2.0),), ((6, 1.0),))), ("p × q × r", "r", "kind")),
        (law_kind((((0, 1.0),), ((1, 1.0),), ((6, 1.0),)), "log"), ("p", "q", "kind")),
    ],
    ids=["sum", "power law"],
)
def test_the_terms_of_a_law_are_those_of_its_columns(
    fitted: tuple[TabularFit, Trust, list[Terms]], kind: TrunkKind, names: tuple[str, ...]
) -> None:
    fit, trust, _ = fitted
    rows = rows_of(100, 7)
    p, q, r = np.abs(np.nan_to_num(rows.numeric, nan=1.0)).T + 0.1
    trunk = fit_trunk(kind, rows, N_CODES, p + q * r)
    assert trunk is not None
    target = replace(fit.model.targets[1], trunks=(trunk.trunk,), wary=False)
    terms = Terms.of(target, COLUMNS)
    assert terms.names == names
    np.testing.assert_allclose(terms(rows).sum(axis=1), trunk.trunk.predict(rows), rtol=1e-9)
    assert (target.standard_error(rows) > 0).all()
    in_units = trust.intervals[0]
    in_shares = replace(in_units, difficulty=replace(in_units.difficulty, least_answer=3.0))
    for intervals in (in_units, in_shares):
        assert_same(target, terms, replace(trust, intervals=(intervals,)), rows)


def test_no_term_has_the_name_of_another_part(fitted: tuple[TabularFit, Trust, list[Terms]]) -> None:
    law = law_kind((((0, 1.0), (1, 1.0)), ((2, 1.0),), ((0, 1.0),), ((6, 1.0),)))
    rows = rows_of(100, 7)
    trunk = fit_trunk(law, rows, N_CODES, np.nan_to_num(rows.numeric, nan=1.0).sum(axis=1))
    assert trunk is not None
    target = replace(fitted[0].model.targets[1], trunks=(trunk.trunk,))
    names = Terms.of(target, ["(held)", "q", "(held) × q", "(held) × q (2)"]).names
    assert names == ("(held) × q", "(held) × q (2)", "(held) (2)", "(held) × q (2) (2)")


def test_a_linear_trunk_alone_has_its_weights_as_terms(fitted: tuple[TabularFit, Trust, list[Terms]]) -> None:
    fit, _, _ = fitted
    target = fit.model.targets[1]
    linear = next(trunk for trunk in target.trunks if trunk.kind.link == "identity")
    alone = Terms.of(type(target)((linear,), None, None, target.reach, np.inf), COLUMNS)
    rows = rows_of(50, 5)
    changed = Rows(rows.numeric * np.array([1.01, 1.0, 1.0]), rows.codes)
    before, after = alone(rows), alone(changed)
    without_p = [i for i, name in enumerate(alone.names) if "p" not in name.split(" × ")]
    np.testing.assert_allclose(after[:, [0, *(i + 1 for i in without_p)]], before[:, [0, *(i + 1 for i in without_p)]])
    np.testing.assert_allclose(after.sum(axis=1) - before.sum(axis=1), _change(linear, rows, changed), atol=1e-9)


def _change(trunk: object, rows: Rows, changed: Rows) -> Floats:
    return np.asarray(trunk.predict(changed) - trunk.predict(rows))  # type: ignore[attr-defined]


def test_equal_answers_of_two_trunks_share_the_terms_and_a_constant_has_none(
    fitted: tuple[TabularFit, Trust, list[Terms]],
) -> None:
    fit, trust, _ = fitted
    target = fit.model.targets[0]
    twice = type(target)((target.trunks[0],) * 2, None, None, target.reach, np.inf)
    model = type(fit.model)((twice,))
    both, one = (
        Terms.of(twice, COLUMNS),
        Terms.of(type(twice)(twice.trunks[:1], None, None, twice.reach, np.inf), COLUMNS),
    )
    rows = rows_of(40, 6)
    np.testing.assert_allclose(both(rows), one(rows), rtol=1e-12, atol=1e-12)
    single = replace(trust, answers=trust.answers[:1], intervals=trust.intervals[:1])
    for terms in (both, one):
        used = (
            model if terms is both else type(model)((type(twice)(twice.trunks[:1], None, None, twice.reach, np.inf),))
        )
        runner = GraphRunner(lower_companion(used, single, [terms], SIGNATURE, "float64"), "float64")
        reference = companion_reference(used, single, [terms], rows)
        for name in (DIFFICULTY_TENSOR, TRUNK_TENSOR, TERMS_TENSOR):
            np.testing.assert_allclose(runner.run(feed(rows, "float64"), name), reference[name], rtol=1e-9, atol=1e-9)
