import numpy as np
import pytest
import torch

from models.preprocessing import TablePreprocessing

NUMERIC = np.array([[1.0, -5.0], [2.0, np.nan], [4.0, 5.0], [8.0, 10.0]])


def made(n_levels: tuple[int, ...] = ()) -> TablePreprocessing:
    return TablePreprocessing.fit(NUMERIC, n_levels)


def test_a_missing_number_becomes_the_median_and_is_marked() -> None:
    features = made()(torch.tensor([[np.nan, np.nan]], dtype=torch.float64), None)
    known = made()(torch.tensor([[3.0, 5.0]], dtype=torch.float64), None)
    assert features.linear[0, :2].tolist() == pytest.approx(known.linear[0, :2].tolist())
    assert features.linear[0, 2:].tolist() == [1.0]  # only the second column had missing values in training
    assert known.linear[0, 2:].tolist() == [0.0]


def test_numbers_are_standardised_by_training_rows() -> None:
    rng = np.random.default_rng(0)
    numeric = rng.normal([100.0, -3.0], [7.0, 0.01], (5000, 2))
    features = TablePreprocessing.fit(numeric, ())(torch.as_tensor(numeric), None)
    assert features.linear.mean(dim=0).abs().max() < 0.05
    assert (features.linear.std(dim=0) - 1).abs().max() < 0.05


def test_the_clamped_features_freeze_outside_the_range_and_the_linear_ones_do_not() -> None:
    rows = torch.tensor([[8.0, 10.0], [800.0, 1000.0], [8000.0, 10000.0]], dtype=torch.float64)
    features = made()(rows, None)
    assert torch.equal(features.clamped[1], features.clamped[2])
    assert features.linear[2, 0] > features.linear[1, 0] > features.linear[0, 0]


def test_only_columns_that_are_positive_throughout_take_the_logarithm() -> None:
    preprocessing = made()
    assert preprocessing.positive_columns == (0,)
    features = preprocessing(torch.tensor([[-7.0, 0.0], [1.0, 0.0]], dtype=torch.float64), None)
    assert features.positive[0, 0] > 0  # raised to the floor: no log of a negative
    geometric_mean = np.exp(np.mean(np.log(NUMERIC[:, 0])))
    assert features.positive[1, 0].item() == pytest.approx(1 / geometric_mean)


def test_codes_become_one_hot_blocks_and_an_unknown_code_none() -> None:
    features = made((3, 2))(torch.as_tensor(NUMERIC[:3]), torch.tensor([[0, 1], [2, 0], [-1, 5]]))
    assert features.linear[:, 3:].tolist() == [[1, 0, 0, 0, 1], [0, 0, 1, 1, 0], [0, 0, 0, 0, 0]]


def test_a_table_of_categories_alone_has_features() -> None:
    features = TablePreprocessing.fit(np.zeros((4, 0)), (2,))(None, torch.tensor([[0], [1]]))
    assert features.linear.tolist() == [[1, 0], [0, 1]]
    assert features.positive.shape == (2, 0)


def test_a_row_without_columns_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one column"):
        made()(None, None)


def test_a_column_that_is_constant_but_for_rare_values_keeps_a_finite_scale() -> None:
    numeric = np.zeros((1000, 1))
    numeric[3] = 5.0
    features = TablePreprocessing.fit(numeric, ())(torch.as_tensor(numeric), None)
    assert torch.isfinite(features.linear).all()
    assert features.clamped[3, 0] > features.clamped[0, 0]


def test_a_column_without_any_value_does_no_harm() -> None:
    numeric = np.array([[1.0, np.nan], [2.0, np.nan]])
    features = TablePreprocessing.fit(numeric, ())(torch.tensor([[1.5, 7.0], [1.5, np.nan]], dtype=torch.float64), None)
    assert torch.isfinite(features.linear).all()
    assert torch.isfinite(features.clamped).all()
