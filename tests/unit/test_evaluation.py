import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from training.evaluation.leaderboard import BASELINES, TableRows, board_row
from training.evaluation.metrics import finite_or_none, regression_metrics, relative_error
from training.evaluation.plots import driver_error_plot, relative_error_plot

PNG = b"\x89PNG\r\n"


def test_metrics_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    targets = rng.normal(size=(50, 2))
    predictions = targets + rng.normal(size=(50, 2))
    metrics = regression_metrics(targets, predictions, ("p", "q"))
    for j, name in enumerate(("p", "q")):
        assert metrics[name]["mae"] == pytest.approx(mean_absolute_error(targets[:, j], predictions[:, j]))
        assert metrics[name]["rmse"] == pytest.approx(root_mean_squared_error(targets[:, j], predictions[:, j]))
        assert metrics[name]["r2"] == pytest.approx(r2_score(targets[:, j], predictions[:, j]))


def test_an_overflow_leaves_its_metric_out() -> None:
    metrics = regression_metrics(np.array([[1.0], [2.0]]), np.array([[1.0], [np.inf]]), ("y",))
    assert metrics == {"y": {}}
    assert finite_or_none(float("inf")) is None
    assert finite_or_none(np.float64(2.0)) == 2.0


def test_relative_error_is_absolute_at_a_target_of_zero() -> None:
    error = relative_error(np.array([2.0, 0.0, -4.0]), np.array([1.0, 0.25, -4.0]))
    assert error.tolist() == [0.5, 0.25, 0.0]


@pytest.mark.parametrize("unit", [1.0, 1e51, 1e-50])
def test_the_baselines_learn_what_they_can_in_every_unit(unit: float) -> None:
    rng = np.random.default_rng(0)
    numeric = rng.normal(size=(400, 2))
    codes = rng.integers(0, 3, size=(400, 1))
    targets = (3 * numeric[:, :1] + codes) @ np.array([[1.0, -2.0]]) * unit
    numeric[::20, 1] = np.nan
    train, test = (TableRows(numeric[part], codes[part], targets[part]) for part in (slice(300), slice(300, 400)))
    errors = {
        name: board_row(name, test.targets, baseline(train, test, 0), ("p", "q")).rmse
        for name, baseline in BASELINES.items()
    }
    assert errors["linear (ridge)"]["p"] < 0.05 * errors["mean"]["p"]
    assert errors["linear (ridge)"]["q"] < 0.05 * errors["mean"]["q"]
    assert errors["gradient-boosted trees"]["q"] < 0.3 * errors["mean"]["q"]


@pytest.mark.parametrize("name", BASELINES)
def test_a_column_known_only_in_rows_held_out_changes_no_baseline(name: str) -> None:
    rng = np.random.default_rng(0)
    numeric, codes = rng.normal(size=(120, 3)), rng.integers(0, 3, size=(120, 1))
    targets = numeric[:, 2:] + codes
    numeric[:100, 0] = np.nan

    def answers(columns: list[int]) -> NDArray[np.float64]:
        train, test = (
            TableRows(numeric[part][:, columns], codes[part], targets[part]) for part in (slice(100), slice(100, 120))
        )
        return BASELINES[name](train, test, 0)

    np.testing.assert_array_equal(answers([0, 1, 2]), answers([1, 2]))


def test_plots_are_drawn_with_overflows_exact_zeros_and_any_column_name() -> None:
    magnitude = np.array([1.0, 10.0, 100.0])
    assert relative_error_plot("a $\\frac$ title", 10.0, magnitude, np.array([0.0, 1e-9, np.inf])).startswith(PNG)
    driver = np.linspace(0, 1, 30)
    plot = driver_error_plot("x", "price [$/$kg]", 0.8, driver, {"ours": driver, "mean": driver + 1})
    assert plot.startswith(PNG)
