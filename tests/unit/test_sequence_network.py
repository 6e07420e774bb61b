"""Sequence networks step by step, and their cells against torch's own layers."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from models.networks import AfterEveryStep, GRUCell, HiddenPart, LSTMCell, RNNCell, SequenceError, SequenceNetwork


class Fraction(nn.Module):
    """s' = s / 2 + x: every step and their order count."""

    def forward(self, step: Tensor, state: Tensor) -> Tensor:
        return state / 2 + step


def by_fractions(initial: float = 8.0) -> SequenceNetwork:
    return SequenceNetwork(nn.Identity(), Fraction(), nn.Identity(), torch.tensor([initial], dtype=torch.float64))


@pytest.mark.parametrize("length", [1, 2, 10])
@pytest.mark.parametrize("batch", [1, 3])
def test_every_step_is_read_in_order(length: int, batch: int) -> None:
    steps = torch.arange(batch * length, dtype=torch.float64).reshape(batch, length, 1)
    expected = []
    for sequence in steps.flatten(1).tolist():
        state = 8.0
        for step in sequence:
            state = state / 2 + step
        expected.append([state])
    network = by_fractions()
    assert network(steps).tolist() == expected
    states = network.states(steps)
    assert states.shape == (batch, length, 1)
    assert states[:, -1].tolist() == expected
    assert states[:, 0].tolist() == (4 + steps[:, 0]).tolist()


def test_answers_after_every_step_are_those_of_the_beginnings() -> None:
    network = by_fractions()
    steps = torch.arange(15, dtype=torch.float64).reshape(3, 5, 1)
    answers = AfterEveryStep(network)(steps)
    for length in range(1, 6):
        assert answers[:, length - 1].tolist() == network(steps[:, :length]).tolist()


def test_tokens_images_and_narrow_numbers_are_encoded_step_by_step() -> None:
    embedding = nn.Embedding(3, 2, dtype=torch.float64)
    text = SequenceNetwork(embedding, Fraction(), nn.Identity(), torch.zeros(2, dtype=torch.float64))
    tokens = torch.tensor([[2, 0], [1, 1]])
    expected = embedding(tokens[:, 0]) / 2 + embedding(tokens[:, 1])
    torch.testing.assert_close(text(tokens), expected, rtol=0, atol=0)
    digits = SequenceNetwork(
        nn.Sequential(nn.Flatten(), nn.Linear(6, 1, dtype=torch.float64)), Fraction(), nn.Identity(), text.initial[:1]
    )
    images = torch.rand(2, 5, 2, 3, generator=torch.Generator().manual_seed(0))
    assert digits(images).dtype == torch.float64  # though the images are float32
    torch.testing.assert_close(digits(images), digits(images.double()), rtol=0, atol=0)


def test_the_first_state_is_kept_with_the_network_and_is_not_trained() -> None:
    first = torch.tensor([3.0])
    network = SequenceNetwork(nn.Identity(), Fraction(), nn.Identity(), first)
    first += 1
    assert network.state_dict()["initial"].tolist() == [3.0]
    assert list(network.parameters()) == []
    assert network.double()(torch.zeros(1, 1, 1)).tolist() == [[1.5]]


@pytest.mark.parametrize(
    "initial", [torch.zeros(0), torch.zeros(2, 2), torch.tensor(1.0), torch.zeros(2, dtype=torch.int64)], ids=str
)
def test_a_first_state_that_is_no_vector_is_refused(initial: Tensor) -> None:
    with pytest.raises(SequenceError, match="must be a vector of floating-point numbers"):
        SequenceNetwork(nn.Identity(), Fraction(), nn.Identity(), initial)


@pytest.mark.parametrize("shape", [(2, 0, 1), (2,)])
def test_no_step_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(SequenceError, match="at least one step"):
        by_fractions()(torch.zeros(shape))


Cell = LSTMCell | GRUCell | RNNCell


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


CELLS: dict[str, tuple[Callable[[], Cell], Callable[..., nn.RNNBase], dict[str, str]]] = {
    "lstm": (lambda: LSTMCell(3, 4, dtype=torch.float64, generator=generator()), nn.LSTM, {}),
    "gru": (lambda: GRUCell(3, 4, dtype=torch.float64, generator=generator()), nn.GRU, {}),
    "tanh": (lambda: RNNCell(3, 4, dtype=torch.float64, generator=generator()), nn.RNN, {}),
    "relu": (
        lambda: RNNCell(3, 4, "relu", dtype=torch.float64, generator=generator()),
        nn.RNN,
        {"nonlinearity": "relu"},
    ),
}


@pytest.mark.parametrize("kind", CELLS)
def test_a_cell_gives_what_torch_s_own_layer_gives(kind: str) -> None:
    make, layer_type, options = CELLS[kind]
    torch.manual_seed(1)
    layer = layer_type(3, 4, batch_first=True, dtype=torch.float64, **options)
    cell = make().load_layer(layer)
    steps = torch.randn(5, 20, 3, dtype=torch.float64)
    network = SequenceNetwork(nn.Identity(), cell, HiddenPart(4), cell.initial())
    assert network.d_state == (8 if kind == "lstm" else 4)
    torch.testing.assert_close(network(steps), layer(steps)[0][:, -1], rtol=1e-13, atol=1e-14)
    if kind == "lstm":
        torch.testing.assert_close(network.states(steps)[:, -1, 4:], layer(steps)[1][1][0], rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("kind", CELLS)
def test_weights_are_drawn_from_the_generator_within_torch_s_bounds(kind: str) -> None:
    first, again = CELLS[kind][0](), CELLS[kind][0]()
    for name, parameter in first.named_parameters():
        torch.testing.assert_close(parameter, again.get_parameter(name), rtol=0, atol=0)
        assert 0 < parameter.abs().max() <= 0.5
    assert "d_step=3, d_hidden=4" in repr(first)


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (nn.LSTM(3, 4, num_layers=2), "one level and one direction"),
        (nn.LSTM(3, 4, bidirectional=True), "one level and one direction"),
        (nn.LSTM(3, 4, bias=False), "one level and one direction"),
        (nn.LSTM(3, 4, proj_size=2), "one level and one direction"),
        (nn.LSTM(3, 5), "weight_ih has shape"),
        (nn.GRU(3, 4), "weight_ih has shape"),
    ],
)
def test_a_layer_of_another_shape_is_refused(layer: nn.RNNBase, words: str) -> None:
    cell = LSTMCell(3, 4)
    before = cell.weight_ih.clone()
    with pytest.raises(SequenceError, match=words):
        cell.load_layer(layer)
    torch.testing.assert_close(cell.weight_ih, before, rtol=0, atol=0)


@pytest.mark.parametrize(("d_step", "d_hidden"), [(0, 1), (1, 0), (-1, 3)])
def test_widths_must_be_positive(d_step: int, d_hidden: int) -> None:
    with pytest.raises(SequenceError, match="widths must be positive"):
        GRUCell(d_step, d_hidden)
