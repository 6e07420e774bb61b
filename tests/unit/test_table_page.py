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


def claimed(given: Kept) -> dict[str, list[str]]:
    """Return the cells of each claim's line by its first."""
    cells = [line.strip("| ").split(" | ") for line in page.claims(given).splitlines()]
    return {line[0]: line[1:] for line in cells}


def test_claims_are_met_or_not_by_the_ratios() -> None:
    lines = claimed(kept())
    assert lines["at random, ours over LightGBM"] == ["≤ 0.98", "0.500", "0.500, 0.500", "yes", "1 of 1"]
    single = lines["outside by driver, ours over the best single peer"]
    assert single == ["≤ 0.87", "0.625 (ridge)", "0.625, 0.625", "yes", "1 of 2"]
    assert not any("by group" in line for line in lines)
    worse = claimed(kept(ours=1.2, with_group=True))
    worst = worse["worst task outside, ours over LightGBM"]
    assert worst == ["≤ 1.05", "1.200 (steel: yield, driver)", "1.200, 1.200", "**no**", "2 of 3"]
    group = worse["by group, ours over the best single peer"]
    assert group == ["≤ 1.02", "1.500 (ridge)", "1.500, 1.500", "**no**", "1 of 1"]


def test_the_tasks_that_bounds_were_set_on_are_told_by_driver_alone() -> None:
    results = kept().documents["tables"]["results"]
    assert "ours over" not in page.claims_where_set(kept()), "it has none of them"
    moved = [{**one, "data_set": "diamonds", "target": "price"} for one in results if one["data_set"] == "steel"]
    worse = [{**one, "rmse": 9.0} if one["method"] == OURS else one for one in results]
    text = page.claims_where_set(Kept({"tables": {"results": [*moved, *worse]}}))
    assert "| outside by driver, ours over LightGBM | ≤ 0.60 | 0.500 | 0.500, 0.500 | yes | 1 of 1 |" in text
    assert "| 0.500 (diamonds: price, driver) |" in text
    assert "at random" not in text


def test_seeds_are_told_alone_only_where_each_ran_on_every_task() -> None:
    results = kept().documents["tables"]["results"]
    one_more = {**results[0], "seed": 2}
    assert one_more["method"] == OURS
    text = page.claims(Kept({"tables": {"results": [*results, one_more]}}))
    assert "Each seed alone" not in text
    assert "| at random, ours over LightGBM | ≤ 0.98 | 0.500 | yes | 1 of 1 |" in text
    assert "Each seed alone" in page.claims(kept())


def test_a_task_has_its_errors_the_best_in_bold_and_a_mean_below() -> None:
    lines = page.errors("driver")(kept()).splitlines()
    assert lines[0] == "| Task | LightGBM, RMSE | trunk + residual | ridge | Seeds |"
    assert lines[2] == "| steel: yield | 3 | **0.500** | 0.800 | 2 |"
    assert lines[3] == "| geometric mean |  | 0.500 | 0.800 | best peer of each 0.800 |"
    assert page.errors("time")(kept()) == ""


def test_a_task_without_ours_is_told_and_costs_are_those_of_every_fit() -> None:
    assert page.missing(kept()).splitlines()[2:] == ["| outside by driver | sea: y |"]
    assert "| trunk + residual | 3 of 4 | 6 | 2.5 | 2.5 | 2.5 |" in page.costs(kept())
    assert "| LightGBM | 4 of 4 | 7 | 2.5 | 2.5 | 2.5 |" in page.costs(kept())
