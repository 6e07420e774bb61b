"""The stitched graph against torch, at every length and batch, and what is refused before anything is published."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from models.contract.manifest import OutputColumn, TextColumn
from models.contract.repository import ModelRepository
from models.networks import GRUCell, LSTMCell, SequenceNetwork
from tests.sequences import IMAGES, MODELS, SIDE, STEPS, WORDS, Sum, built, fitted, steps_model, text_model
from training.errors import ExportError
from training.parity import GraphRunner, load_graph
from training.publish_sequence import Example, build_sequence, encode_examples, publish_sequence
from training.sequence_export import dtype_of, export_sequence, tensor_of
from training.sequence_parity import BATCH_SIZES, LENGTHS, check_sequence_parity

SCALE = np.array([1.0])


def sequences(name: str, batch: int, length: int) -> NDArray[np.generic]:
    rng = np.random.default_rng(1)
    if name == "number-words":
        return rng.integers(0, len(WORDS.vocabulary), (batch, length))
    if name == "recurrent":
        return rng.uniform(-100, 100, (batch, length, 2))
    return rng.random((batch, length, SIDE, SIDE), dtype=np.float32)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("name", MODELS)
def test_a_graph_answers_as_torch_does_at_every_length_and_batch(name: str, length: int) -> None:
    model, manifest, graph = built(name)
    runner = GraphRunner(graph, "float64")
    for batch in BATCH_SIZES if length < 1000 else (1, 2):
        given = sequences(name, batch, length)
        answer = runner.run({tensor_of(model.input): given})
        with torch.no_grad():
            expected = model.network(torch.as_tensor(given)).numpy()
        assert answer.shape == (batch, len(manifest.outputs))
        assert answer.dtype == np.float64
        rtol = 1e-6 if name == "digit-sum" else 1e-12  # its convolutions are in float32
        np.testing.assert_allclose(answer, expected, rtol=rtol, atol=1e-14)


def test_an_lstm_in_a_graph_answers_as_torch_s_own_layer_does() -> None:
    """Neither our cell nor our loop takes part in the expected answer."""
    model, _, graph = built("number-words")
    cell = model.network.cell
    assert isinstance(cell, LSTMCell)
    layer = nn.LSTM(3, 8, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        for name, parameter in cell.named_parameters():
            layer.get_parameter(f"{name}_l0").copy_(parameter)
        tokens = sequences("number-words", 5, 300)
        expected = model.network.head(layer(model.network.encoder(torch.as_tensor(tokens)))[0][:, -1])
    answer = GraphRunner(graph, "float64").run({"tokens": tokens})
    np.testing.assert_allclose(answer, expected.numpy(), rtol=1e-12)


def test_the_manifest_shows_the_first_examples_as_a_caller_sends_them() -> None:
    _, words, _ = built("number-words")
    assert [row["text"] for row in words.sample.rows] == ["three hundred and twelve", "Forty-five", "five"]
    model, steps, _ = built("recurrent")
    assert steps.sample.rows[1]["steps"] == tuple(tuple(row) for row in np.asarray(model.examples[1]).tolist())
    _, digits, _ = built("digit-sum")
    (row,) = digits.sample.rows
    images = row["images"]
    assert isinstance(images, tuple)
    assert all(str(image).startswith("iVBORw0KGgo") for image in images)
    assert words.parity["torch"] < 1e-12
    assert (words.sample.rtol, digits.sample.rtol) == (1e-6, 1e-3)


def gru() -> SequenceNetwork:
    cell = GRUCell(2, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    return SequenceNetwork(nn.Identity(), cell, nn.Identity(), cell.initial())


def test_float32_goes_through_and_equal_weights_give_equal_bytes() -> None:
    graph, again = (export_sequence(gru(), STEPS) for _ in range(2))
    assert graph == again
    assert str(Path.cwd()).encode() not in graph
    assert b".py" not in graph
    steps = sequences("recurrent", 2, 3).astype(np.float32)
    answer = GraphRunner(graph, "float32").run({"steps": steps})
    assert answer.dtype == np.float32
    with torch.no_grad():
        np.testing.assert_allclose(answer, gru()(torch.as_tensor(steps)).numpy(), rtol=1e-5)


def test_a_network_is_left_as_it_was() -> None:
    network = built("recurrent")[0].network
    assert network.training
    assert network.initial.dtype == torch.float64


def tampered(graph: bytes, factor: float) -> bytes:
    """Return a graph whose cell has weights off by a factor."""
    model = onnx.load_model_from_string(graph)
    (scan,) = [node for node in model.graph.node if node.op_type == "Scan"]
    (body,) = [attribute.g for attribute in scan.attribute if attribute.name == "body"]
    for initializer in body.initializer:
        values = numpy_helper.to_array(initializer)
        if values.dtype == np.float64:
            initializer.CopyFrom(numpy_helper.from_array(values * factor, initializer.name))
    return bytes(model.SerializeToString())


def test_parity_fails_loudly_when_a_weight_of_the_cell_is_off() -> None:
    model, _, graph = built("number-words")
    arrays = encode_examples(model.input, model.network, model.examples)
    assert check_sequence_parity(graph, model.network, model.input, arrays, SCALE)["torch"] < 1e-12
    with pytest.raises(ExportError, match="must answer as torch does, to 1e-06, however it differs"):
        check_sequence_parity(tampered(graph, 1.001), model.network, model.input, arrays, SCALE)


def test_parity_names_a_graph_that_does_not_load_or_run() -> None:
    model, _, graph = built("number-words")
    with pytest.raises(ExportError, match="must load in onnxruntime"):
        load_graph(b"no graph", "float64")
    with pytest.raises(ExportError, match="must run at batch 1 and length 4"):
        check_sequence_parity(graph, model.network, model.input, [np.array([0, 1, 2, 99])], SCALE)


class Mixing(nn.Module):
    def forward(self, step: Tensor, state: Tensor) -> Tensor:
        return state + step.mean(0, keepdim=True).expand_as(step)


def test_a_cell_that_mixes_rows_is_refused() -> None:
    """The service groups rows as they come; an answer that depends on the neighbours would change from call to call."""
    network = SequenceNetwork(nn.Identity(), Mixing(), nn.Identity(), torch.zeros(2, dtype=torch.float64))
    graph = export_sequence(network, STEPS)
    with pytest.raises(ExportError, match="whatever rows stand beside it"):
        check_sequence_parity(graph, network, STEPS, [np.random.default_rng(0).random((3, 2))], np.ones(2))


class Wider(nn.Module):
    def forward(self, step: Tensor, state: Tensor) -> Tensor:
        return torch.cat([state, step], dim=1)


class Counting(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sum()


@pytest.mark.parametrize(
    ("encoder", "cell", "head", "words"),
    [
        (nn.Identity(), Wider(), nn.Identity(), "the cell must give one row of 2 numbers"),
        (nn.Linear(3, 2, dtype=torch.float64), Sum(), nn.Identity(), "the encoder must take what comes before"),
        (nn.Linear(2, 3, dtype=torch.float64), Sum(), nn.Identity(), "the cell must take what comes before"),
        (Counting(), Sum(), nn.Identity(), "the encoder must give one row"),
        (nn.Identity(), Sum(), Counting(), "the head must give one row"),
        (nn.Identity(), Sum(), nn.Flatten(0), "the head must give one row"),
    ],
)
def test_parts_that_do_not_fit_are_named(encoder: nn.Module, cell: nn.Module, head: nn.Module, words: str) -> None:
    network = SequenceNetwork(encoder, cell, head, torch.zeros(2, dtype=torch.float64))
    with pytest.raises(ExportError, match=words):
        export_sequence(network, STEPS)


def test_a_half_network_is_refused() -> None:
    with pytest.raises(ExportError, match="must be of float64 or float32, however"):
        dtype_of(text_model().network.half())


@pytest.mark.parametrize(
    ("column", "example", "words"),
    [
        (WORDS, "three million", "one of example 0 is not: 'million'"),
        (WORDS, "", r"at least one finite step of shape \(\), however example 0 has shape \(0,\)"),
        (WORDS, np.array([1, 2]), "must be a text where the model takes texts"),
        (STEPS, "three", "must be a text where the model takes texts"),
        (STEPS, np.ones((3, 3)), r"of shape \(2,\), however example 0 has shape \(3, 3\)"),
        (STEPS, np.ones((0, 2)), "at least one finite step"),
        (STEPS, np.full((1, 2), np.nan), "at least one finite step"),
        (IMAGES, np.ones((SIDE, SIDE)), "at least one finite step"),
    ],
)
def test_an_example_that_is_no_sequence_of_the_model_is_refused(
    column: TextColumn, example: Example, words: str
) -> None:
    with pytest.raises(ExportError, match=words):
        encode_examples(column, steps_model().network, [example])


def test_a_model_without_examples_is_refused() -> None:
    with pytest.raises(ExportError, match="however there is none"):
        build_sequence(replace(text_model(), examples=[]))


class Overflowing(nn.Module):
    def forward(self, step: Tensor, state: Tensor) -> Tensor:
        return torch.exp(state + 1000 * step.abs())


def test_what_is_published_answers_its_examples_and_has_an_output_for_each() -> None:
    network = SequenceNetwork(nn.Identity(), Overflowing(), nn.Identity(), torch.zeros(2, dtype=torch.float64))
    model = fitted("overflow", network, STEPS, [np.ones((2, 2))], n_outputs=2)
    with pytest.raises(ExportError, match="must answer its examples with finite numbers"):
        build_sequence(model)
    outputs: tuple[OutputColumn, ...] = model.outputs[:1]
    with pytest.raises(ExportError, match="one output column per output, however: 1"):
        build_sequence(replace(model, outputs=outputs))


def test_a_publication_has_its_time_its_report_and_its_plots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, manifest, graph = built("recurrent")
    monkeypatch.setattr("training.publish_sequence.build_sequence", lambda _: (manifest, graph))
    moment = datetime(2026, 11, 21, 12, tzinfo=UTC)
    published = publish_sequence(
        ModelRepository(tmp_path), model, {"rmse": 0.5}, {"errors.svg": b"<svg/>"}, created=moment
    )
    assert published.provenance.created == "2026-11-21T12:00:00+00:00"
    folder = tmp_path / "recurrent" / "1"
    assert {path.name for path in folder.iterdir()} == {"model.onnx", "manifest.json", "report.json", "errors.svg"}
    assert ModelRepository(tmp_path).load("recurrent").manifest == published
