"""The search for exact laws of sequences."""

import numpy as np
import pytest
import torch

from training.errors import ConfigError
from training.fitting.exact import ExactSettings
from training.fitting.outcome import NotFound
from training.fitting.recurrent_law import RecurrentLaw, fit_recurrent, last_states

QUICK = ExactSettings(noise=False, structures=("sum", "power", "power of a sum", "quotient of sums"))


def drawn(lengths: list[int], width: int = 3, seed: int = 0) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.uniform(1, 2, (length, width)).astype(np.float32).astype(np.float64) for length in lengths]


def test_states_are_those_of_the_recurrence() -> None:
    steps = np.array([[[1.0], [2.0], [5.0]]])
    assert [last_states(steps, retention)[0, 0] for retention in (0.0, 1.0, -1.0)] == [5.0, 8.0, 4.0]


@pytest.mark.parametrize(
    ("retention", "truth"),
    [
        (1.0, lambda x: (x[:, 0].sum() + x[:, 1].sum()) / (x[:, 1].sum() + x[:, 2].sum())),
        (1.0, lambda x: x[:, 2].sum() ** 0.5),
        (1.0, lambda x: x[:, 0].sum() - x[:, 1].sum()),
        (0.0, lambda x: x[-1, 0] / x[-1, 1]),
        (-1.0, lambda x: x[::-1][::2, 0].sum() - x[::-1][1::2, 0].sum()),
    ],
)
def test_a_law_is_found_whatever_the_lengths_and_holds_at_any(retention: float, truth: object) -> None:
    sequences = drawn([3, 7, 12] * 60)
    targets = np.array([truth(one) for one in sequences])  # type: ignore[operator]
    found = fit_recurrent(sequences, targets, seed=0, settings=QUICK)
    assert isinstance(found, RecurrentLaw)
    assert found.retention == retention
    network = found.network()
    for length in (1, 2, 500):
        (one,) = drawn([length], seed=length)
        with torch.no_grad():
            answer = network(torch.as_tensor(one[None])).item()
        assert answer == pytest.approx(truth(one), rel=1e-11, abs=1e-10)  # type: ignore[operator]


def test_what_is_no_such_law_is_not_found() -> None:
    sequences = drawn([5] * 100)
    targets = np.array([np.sin(one).sum() for one in sequences])
    assert isinstance(fit_recurrent(sequences, targets, seed=0, settings=QUICK), NotFound)


@pytest.mark.parametrize("sequences", [[np.ones((3, 2)), np.ones((3, 1))], [np.ones((0, 2))] * 9, [np.ones(3)] * 9, []])
def test_sequences_of_other_shapes_are_told(sequences: list[np.ndarray]) -> None:
    with pytest.raises(ConfigError, match="steps of one width"):
        fit_recurrent(sequences, np.ones(len(sequences)), seed=0)
