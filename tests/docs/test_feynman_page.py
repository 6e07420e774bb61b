"""The page on physics equations and its figure show the results kept, and what the page claims holds in them."""

from pathlib import Path

from training.bench.feynman.methods import OURS
from training.bench.feynman.report import read_documents, write_report
from training.bench.feynman.summary import recovered, summarise

CHECKOUT = Path(__file__).resolve().parents[2]
RESULTS = CHECKOUT / "benchmarks" / "results" / "feynman"


def test_page_and_figure_are_those_of_the_results_kept() -> None:
    write_report(RESULTS, CHECKOUT / "docs", check=True)


def test_the_bounds_hold_in_the_results_kept() -> None:
    results, _ = read_documents(RESULTS)
    for noise, bound in ((0.0, 0.95), (0.01, 0.85)):
        of_noise = [one for one in results if one.noise == noise]
        n_exact, n = recovered(of_noise)
        assert n >= 71
        assert n_exact >= bound * n
        own, *peers = summarise(of_noise)
        assert own.method == OURS
        assert own.n_equations == 100
        assert own.r2_outside >= 0.999
        assert own.n_false_proofs == 0
        assert {"LightGBM", "power law", *(["MLP"] if noise == 0 else [])} <= {one.method for one in peers}
        assert own.n_good > max(one.n_good for one in peers)
