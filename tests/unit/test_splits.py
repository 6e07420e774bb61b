import numpy as np
import pytest

from training.errors import TrainingDataError
from training.splits import driver_split, random_split


def test_a_random_split_uses_every_row_once_and_follows_its_seed() -> None:
    split = random_split(101, seed=4)
    assert sorted([*split.train, *split.validation, *split.test]) == list(range(101))
    assert (len(split.validation), len(split.test)) == (15, 15)
    assert np.array_equal(split.test, random_split(101, seed=4).test)
    assert not np.array_equal(split.test, random_split(101, seed=5).test)


def test_too_few_rows_to_split_are_refused() -> None:
    with pytest.raises(TrainingDataError, match="training, validation and test"):
        random_split(2, seed=0)


def test_the_driver_is_the_column_that_moves_the_target_and_its_tail_is_held_out() -> None:
    rng = np.random.default_rng(0)
    numeric = rng.normal(size=(500, 3))
    numeric[::50, 1] = np.nan
    targets = np.exp(np.nan_to_num(numeric[:, 1:2]))  # monotone, not linear: ranks see it
    found = driver_split(numeric, targets, seed=0)
    assert found is not None
    assert found.column == 1
    inside = np.concatenate([found.split.train, found.split.validation])
    assert np.nanmax(numeric[inside, 1]) <= found.threshold
    assert numeric[found.split.test, 1].min() > found.threshold
    assert sorted([*inside, *found.split.test]) == list(range(500))
    assert 0.15 < len(found.split.test) / 500 < 0.25


def test_a_column_without_a_tail_is_passed_over() -> None:
    rng = np.random.default_rng(0)
    binary = (rng.random(300) < 0.5).astype(float)
    spread = rng.normal(size=300)
    targets = (10 * binary + 0.1 * spread)[:, None]
    found = driver_split(np.stack([binary, spread], axis=1), targets, seed=0)
    assert found is not None
    assert found.column == 1


def test_a_table_without_a_tail_has_no_driver() -> None:
    binary = (np.arange(100) % 2).astype(float)[:, None]
    assert driver_split(binary, binary, seed=0) is None
    assert driver_split(np.zeros((100, 0)), binary, seed=0) is None


def test_a_column_that_counts_the_rows_is_no_driver() -> None:
    counter = np.arange(200.0)
    spread = np.random.default_rng(0).normal(size=200)
    found = driver_split(np.stack([counter, spread], axis=1), counter[:, None] + spread[:, None], seed=0)
    assert found is not None
    assert found.column == 1
