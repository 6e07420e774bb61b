"""What holds for the search whatever the law."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from training.fitting.exact import Found, fit_exact

few = settings(deadline=None, max_examples=40)
signs = st.lists(st.sampled_from([-1.0, 0.0, 1.0, 2.0]), min_size=4, max_size=4).filter(any)
powers = st.lists(st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0]), min_size=4, max_size=4).filter(any)
seeds = st.integers(0, 2**31)


@few
@given(signs, seeds)
def test_every_simple_sum_is_found(weights: list[float], seed: int) -> None:
    x = np.random.default_rng(seed).uniform(-2, 2, (60, 4))
    found = fit_exact(x, x @ np.array(weights), seed=seed)
    assert isinstance(found, Found)
    assert found.snapped.layers[0].weight.tolist() == [weights]


@few
@given(powers, seeds)
def test_every_simple_product_of_powers_is_found(chosen: list[float], seed: int) -> None:
    x = np.random.default_rng(seed).uniform(0.5, 2, (60, 4))
    y = np.prod(x ** np.array(chosen), axis=1)
    found = fit_exact(x, y, seed=seed)
    assert isinstance(found, Found)
    np.testing.assert_allclose(found.snapped.evaluate(x + 3), np.prod((x + 3) ** np.array(chosen), axis=1), rtol=1e-12)


@few
@given(st.permutations(range(4)), seeds)
def test_the_order_of_columns_does_not_matter(order: list[int], seed: int) -> None:
    x = np.random.default_rng(seed).uniform(1, 2, (80, 4))
    y = x[:, 0] / x[:, 1]
    found = fit_exact(x[:, order], y, seed=seed)
    assert isinstance(found, Found)
    assert found.snapped.layers[0].weight[0, np.argsort(order)].tolist() == [1, -1, 0, 0]


@settings(deadline=None, max_examples=15)
@given(seeds, st.sampled_from([1e-12, 1.0, 1e12]))
def test_noise_alone_is_no_law(seed: int, size: float) -> None:
    generator = np.random.default_rng(seed)
    x = size * generator.uniform(1, 2, (100, 3))
    assert not isinstance(fit_exact(x, size * generator.uniform(1, 2, 100), seed=seed), Found)
