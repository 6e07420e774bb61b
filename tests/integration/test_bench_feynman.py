"""`nalu bench feynman`: equations fitted, judged, kept, resumed and shown."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from training.bench.feynman import running
from training.bench.feynman.methods import METHODS, OURS, Answer, available, revision
from training.bench.feynman.own_equations import OWN
from training.bench.feynman.report import figure_svg, read_documents, render, told, write_report
from training.bench.feynman.running import Kept, Result, measure, run
from training.bench.feynman.summary import recovered, summarise
from training.bench_commands import bench_app
from training.errors import ConfigError, MissingExtraError
from training.fitting.law import Floats
from training.tasks.physics import Equation

COULOMB = next(one for one in OWN if one.name == "Coulomb's law")


def bench(*words: object) -> None:
    result = CliRunner().invoke(bench_app, ["feynman", *map(str, words)], catch_exceptions=False)
    assert result.exit_code == 0, result.output


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    words = ["--own", "--equation", "Coulomb's law", "--equation", "thin lens", "--noise", 0]
    places = ["--keep", folder / "kept.jsonl", "--json", folder / "a.json", "--plot", folder / "a.svg"]
    bench(*words, "--method", "search", "--method", "ridge", *places)
    return folder


def test_the_search_recovers_what_a_peer_does_not(results: Path) -> None:
    found, documents = read_documents(results)
    assert len(documents) == 1
    by_method = {one.method: one for one in found if one.equation == COULOMB.name}
    assert by_method[OURS].exact
    assert by_method[OURS].proven
    assert by_method[OURS].formula == "0.07958 * q1 * q2 / (eps * r^2)"
    assert by_method[OURS].r2_outside == 1
    ridge = by_method["ridge"]
    assert (ridge.exact, ridge.found, ridge.formula) == (False, False, "")
    assert ridge.r2_inside is not None
    assert 0.5 < ridge.r2_inside < 1
    assert recovered(found) == (2, 2)
    own, other = summarise(found)
    assert (own.method, own.n_exact, own.n_good, own.n_false) == (OURS, 2, 2, 0)
    assert other.n_exact == 0
    assert (results / "a.svg").read_bytes().startswith(b"<?xml")


def test_a_network_is_near_inside_and_far_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "N_ROWS", 200)
    result = measure(COULOMB, 0.0, "MLP", 0, revision("MLP"))
    assert (result.exact, result.found, result.formula) == (False, False, "")
    assert result.r2_inside is not None
    assert result.r2_inside > 0.9
    assert result.error_inside is not None
    assert result.error_outside is not None
    assert result.error_outside > 3 * result.error_inside


def test_peers_that_are_not_installed_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.bench.table.optional_peers.find_spec", {}.get)
    assert set(METHODS) - set(available()) == {"XGBoost", "CatBoost"}
    with pytest.raises(MissingExtraError, match="CatBoost"):
        measure(COULOMB, 0.0, "CatBoost", 0, revision("CatBoost"))


def test_kept_results_are_not_run_again(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Result:
        raise AssertionError

    kept = Kept(results / "kept.jsonl")
    equations = [one for one in OWN if one.name in (COULOMB.name, "thin lens")]
    monkeypatch.setattr(running, "measure", refuse)
    told_of: list[Result] = []
    again = run(equations, [0.0], [OURS, "ridge"], 1, kept, told_of.append)
    assert again == told_of
    assert len(again) == 4
    with pytest.raises(AssertionError):
        run(equations, [0.0], ["LightGBM"], 1, kept, told_of.append)
    (results / "other.jsonl").write_text('{"exact": true}\n')
    with pytest.raises(ConfigError, match="remove it"):
        Kept(results / "other.jsonl")


def test_a_page_and_a_figure_are_made_and_checked(results: Path, tmp_path: Path) -> None:
    bench("--report", "--results", results, "--docs", tmp_path)
    bench("--report", "--check", "--results", results, "--docs", tmp_path)
    page = tmp_path / "benchmark-feynman.md"
    text = page.read_text(encoding="utf-8")
    assert "| thin lens | R | exact |" in text
    assert "M, S and R recovered exactly, no noise" in text
    assert "2/2 = 100.0%" in text
    page.write_text(text + "more\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="differs"):
        write_report(results, tmp_path, check=True)


def test_wrong_answers_are_counted_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(equation: Equation, x: Floats, y: Floats, inside: Floats, outside: Floats, seed: int) -> Answer:
        assert equation.name == COULOMB.name
        assert abs(np.std(y / COULOMB.results(x)) - 0) > 0
        return Answer(COULOMB.results(inside), np.full(len(outside), np.inf), seed == 0, True, "a|b" * 99, 0.1)

    monkeypatch.setitem(METHODS, OURS, wrong)
    result = measure(COULOMB, 0.01, OURS, 0, revision(OURS))
    assert (result.exact, result.r2_inside, result.r2_outside, result.worst) == (False, 1.0, None, None)
    assert "a false law" in told(result)
    summary = summarise([result, replace(result, seed=1, r2_outside=0.5, error_outside=1.0)])[0]
    assert (summary.n_false, summary.n_false_proofs, summary.n_good) == (2, 2, 0)
    document = {
        "command": "x",
        "created": "2026-01-01",
        "results": [{"seconds": 1.0}],
        "machine": {"processor": "p", "versions": {}},
    }
    monkeypatch.setitem(METHODS, OURS, lambda *given: replace(wrong(*given), outside=COULOMB.results(given[4])))
    assert measure(COULOMB, 0.01, OURS, 0, "1").exact
    assert not measure(COULOMB, 0.01, OURS, 1, "1").exact, "an approximation that is right to 1e-6 is none"
    page = render([result, replace(result, method="ridge", found=False)], [document])
    assert "a law, but not the equation's" in page
    assert "**no**" in page
    assert r"a\|b" in page
    assert "-2.5e+04" in render([replace(result, r2_outside=-24985.9)], [document])
    assert figure_svg([result]).startswith(b"<?xml")


def test_faults_are_told(tmp_path: Path) -> None:
    for words, expected in (
        (["--own", "--method", "none"], "a method must be one of"),
        (["--own", "--noise", "2"], "between 0 and 1"),
        (["--data", tmp_path / "none.csv"], "readable"),
        (["--report", "--results", tmp_path], "no JSON file"),
    ):
        with pytest.raises(ConfigError, match=expected):
            bench(*words)
    (tmp_path / "a.json").write_text(json.dumps({"format": 1, "cells": []}))
    with pytest.raises(ConfigError, match="nalu bench feynman"):
        read_documents(tmp_path)
