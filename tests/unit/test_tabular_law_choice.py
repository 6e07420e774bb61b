"""When a law answers alone: where folds agree on it and it is better than the committee."""

import numpy as np
import pytest

from tests.laws import MIXED, N_CODES, PRICE, mixed, noise, priced, priced_rows, rows_of
from training.tabular import trials
from training.tabular.fit import fit_table_model
from training.tabular.network_settings import NetworkSettings
from training.tabular.rows import Rows
from training.tabular.selection import choose
from training.tabular.tree_settings import TreeSettings
from training.tabular.trials import kind_name, try_out
from training.tabular.trunks import Link, TrunkKind, law_kind


def test_a_law_that_most_folds_find_answers_alone() -> None:
    rows = rows_of(500, 0)
    targets = mixed(rows) + noise(500)

    tried = try_out(rows, N_CODES, targets, 0)
    choice = choose(tried, "balanced")

    assert sum(trial.laws.get("identity") == law_kind(MIXED) for trial in tried) >= len(tried) / 2
    assert [kind and kind.law for kind in choice.kinds] == [MIXED]
    assert not choice.wary
    assert choice.as_dict()["trunks"] == ["law"]
    assert choice.ranked() == choice.kinds
    model = fit_table_model(
        rows, N_CODES, targets[:, None], trees=TreeSettings(n_trees=40, n_ensembles=2),
        networks=NetworkSettings(n_members=2, d_hidden=16, n_steps=100),
    ).model  # fmt: skip
    far = rows_of(300, 1, 18.0)
    assert np.sqrt(np.mean((model.predict(far)[:, 0] - mixed(far)) ** 2)) < 0.5
    farther = Rows(np.array([[900.0, 800.0, 5.0, 5.0, 5.0]]), np.zeros((1, 1), dtype=np.int64))
    assert model.predict(farther)[0, 0] == pytest.approx(mixed(farther)[0], rel=0.01)


def test_where_the_first_folds_agree_on_nothing_the_others_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of(300, 0)
    asked: list[Link] = []

    def another(_rows: object, _codes: object, _targets: object, link: Link) -> TrunkKind:
        asked.append(link)
        return law_kind((((0, float(len(asked))),),), link)

    monkeypatch.setattr(trials, "find_law", another)
    tried = try_out(rows, N_CODES, mixed(rows) + 100, 0)
    assert asked == ["identity"] * 4 + ["log"] * 4
    assert [len(trial.laws) for trial in tried] == [2 if place < 4 else 0 for place in range(len(tried))]
    monkeypatch.setattr(trials, "find_law", lambda *given: law_kind(MIXED, given[-1]))
    laws = {"identity": law_kind(MIXED), "log": law_kind(MIXED, "log")}
    assert all(trial.laws == laws for trial in try_out(rows, N_CODES, mixed(rows) + 100, 0))


def test_a_law_that_few_folds_find_or_that_is_worse_than_the_committee_has_no_voice() -> None:
    rows = rows_of(300, 0)
    targets = mixed(rows) + noise(300)
    tried = try_out(rows, N_CODES, targets, 0)
    few = (len(tried) - 1) // 2

    for place, trial in enumerate(tried):
        trial.laws = {"identity": law_kind(MIXED)} if place < few else {}
    assert "law" not in map(kind_name, choose(tried, "balanced").kinds)
    for trial in tried:
        trial.laws = {"identity": law_kind((((4, 2.0),),))}
    assert "law" not in map(kind_name, choose(tried, "balanced").kinds)
    for trial in tried:
        trial.laws = {"identity": law_kind(MIXED)}
    assert list(map(kind_name, choose(tried, "balanced").kinds)) == ["law"]
    assert "law" not in map(kind_name, choose([tried[0], tried[1]], "balanced").kinds)


def test_a_law_that_is_hardly_better_than_the_trees_alone_has_no_voice() -> None:
    rows = rows_of(300, 2)
    tried = try_out(rows, N_CODES, 10 + noise(300, 2), 2)
    law = law_kind((((4, 2.0),),))
    for trial in tried:
        trial.laws = {"identity": law}
    choice = choose(tried, "balanced")
    assert choice.kinds != (law,)
    better = [np.log(trial.trunk_error(trial.candidates[law]) / trial.reference) for trial in tried]
    assert -0.1 < np.mean(better) < choice.committee[0].score


def test_a_power_law_that_most_folds_find_answers_alone_however_far_outside() -> None:
    rows = priced_rows(500, 0)
    targets = priced(rows, 0.05)
    fit = fit_table_model(
        rows, (3,), targets[:, None], trees=TreeSettings(n_trees=40, n_ensembles=2),
        networks=NetworkSettings(n_members=2, d_hidden=16, n_steps=100),
    )  # fmt: skip
    assert fit.choices[0].kinds == (law_kind(PRICE, "log"),)
    far = Rows(np.array([[9e5, 5.0, 5, 5, 5], [5.0, 0.2, 5, 5, 5]]), np.array([[2], [0]]))
    np.testing.assert_allclose(fit.model.predict(far)[:, 0], priced(far), rtol=0.1)
    gone = Rows(np.array([[1e300, 1e-300, 5, 5, 5]]), np.array([[0]]))
    assert np.isfinite(fit.model.predict(gone)).all()


def test_a_law_is_judged_without_a_residual() -> None:
    rows = priced_rows(300, 0)
    law = law_kind(PRICE, "log")
    targets = priced(rows, 0.1)
    tried = try_out(rows, (3,), targets, 0)
    for trial in tried:
        trial.laws = {"log": law, "identity": law_kind((((4, 2.0),),))}
    assert choose(tried, "balanced").kinds == (law,)
    tried = try_out(rows, (3,), targets * np.where(np.sin(rows.numeric[:, 2] * 2) > 0, 1.3, 0.7), 0)
    for trial in tried:
        trial.laws = {"log": law}
    assert law not in choose(tried, "balanced").kinds
    rows, sums = rows_of(300, 0), law_kind(MIXED)
    tried = try_out(rows, N_CODES, mixed(rows) + 20 * (rows.numeric[:, 4] > 5), 0)
    for trial in tried:
        trial.laws = {"identity": sums}  # with trees, which know the step, by far the best
    assert sums not in choose(tried, "balanced").kinds


def test_on_tails_a_law_goes_as_far_as_the_model_lets_it() -> None:
    rows = priced_rows(300, 0)
    targets, law = priced(rows, 0.05) ** 3, law_kind(PRICE, "log")
    trial = next(one for one in try_out(rows, (3,), targets, 0) if one.fold.name == "top of the target")
    trial.try_kind(law)
    true = targets[trial.fold.held_out]

    alone, both = (trial.outside_errors((law,), np.inf, False, has_residual) for has_residual in (False, True))

    np.testing.assert_array_equal(alone.absolute, np.abs(alone.trunk - true))
    assert np.median(alone.absolute / true) < 0.2
    assert alone.outside.max() > 3
    assert trial.trunk_error(trial.candidates[law]) == pytest.approx(np.sqrt(np.mean(alone.absolute**2)))
    assert (alone.standard > 0).all()
    assert (both.absolute != alone.absolute).any()
    committee = trial.outside_errors((None,), np.inf, False, True)
    assert not committee.standard.any()


def test_of_two_laws_the_sum_of_products_answers() -> None:
    rows = rows_of(300, 0)
    a, b, c, *_ = rows.numeric.T
    tried = try_out(rows, N_CODES, 2 * a * b / c * np.exp(0.05 * noise(300)), 0)
    assert sum(len(trial.laws) == 2 for trial in tried) > 4
    choice = choose(tried, "balanced")
    assert choice.kinds == (law_kind((((0, 1.0), (1, 1.0), (2, -1.0)),)),)


def test_the_smallest_target_decides_whether_there_are_logarithms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "MOST_ROWS", 300)
    rows = priced_rows(5000, 0)
    targets = priced(rows, 0.05)
    targets[4321] = 0.0
    zero = choose(try_out(rows, (3,), targets, 0), "balanced")
    assert not any(kind is not None and kind.law for kind in zero.kinds)
    targets[4321] = -1.0
    negative = choose(try_out(rows, (3,), targets, 0), "balanced")
    assert all(kind is not None and kind.link == "identity" for kind in negative.kinds)
