"""Tables of the page on the benchmark of tables: what they say of results made up here."""

from dataclasses import asdict

from training.bench.kept import Kept
from training.bench.table import page
from training.bench.table.results import OURS, REFERENCE, Result


def kept(*, ours: float = 0.5, with_group: bool = False) -> Kept:
    rmse = {OURS: ours, REFERENCE: 1.0, "ridge": 0.8, "mean": 2.0}
    protocols = ["inside", "driver", "target", *(["group"] if with_group else [])]
    results = [
        Result("steel", "yield", protocol, seed, method, "1", scale * error, 0.1, 5500, 50, 2.5)
        for protocol in protocols
        for seed in range(2)
        for method, error in rmse.items()
        for scale in (3.0,)
    ]
    results += [Result("sea", "y", "driver", 0, REFERENCE, "1", 2.0, 0.1, 80, 20, 0.1)]
    return Kept({"tables": {"results": [asdict(one) for one in results]}})


def test_claims_are_met_or_not_by_the_ratios() -> None:
    lines = page.claims(kept()).splitlines()
    assert "| at random, ours over LightGBM | ≤ 0.98 | 0.500 | yes | 1 of 1 |" in lines
    assert "| outside by driver, ours over the best single peer | ≤ 0.87 | 0.625 (ridge) | yes | 1 of 2 |" in lines
    assert not any("by group" in line for line in lines)
    worse = page.claims(kept(ours=1.2, with_group=True))
    assert (
        "| worst task outside, ours over LightGBM | ≤ 1.05 | 1.200 (steel: yield, driver) | **no** | 2 of 3 |" in worse
    )
    assert "| by group, ours over the best single peer | ≤ 1.02 | 1.500 (ridge) | **no** | 1 of 1 |" in worse


def test_a_task_has_its_errors_the_best_in_bold_and_a_mean_below() -> None:
    lines = page.errors("driver")(kept()).splitlines()
    assert lines[0] == "| Task | LightGBM, RMSE | trunk + residual | ridge | Seeds |"
    assert lines[2] == "| steel: yield | 3 | **0.500** | 0.800 | 2 |"
    assert lines[3] == "| geometric mean |  | 0.500 | 0.800 | best peer of each 0.800 |"
    assert page.errors("time")(kept()) == ""


def test_a_task_without_ours_is_told_and_costs_are_those_of_every_fit() -> None:
    assert page.missing(kept()).splitlines()[2:] == ["| outside by driver | sea: y |"]
    assert "| trunk + residual | 6 | 2.5 | 2.5 | 2.5 |" in page.costs(kept())
    assert "| LightGBM | 7 | 2.5 | 2.5 | 2.5 |" in page.costs(kept())
