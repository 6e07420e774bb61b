"""Sequences as the graph takes them: what is stacked with what, and which graphs are theirs."""

import numpy as np
import pytest

from models.contract.manifest import NumberColumn, StepsColumn
from models.contract.repository import PublishedModel
from service.errors import InvalidRequestError, ModelLoadError
from service.inference.batches import UNLIMITED, SequenceLimits
from service.inference.encoding import encode_columns, encode_records
from service.inference.sequence_encoding import encode_sequences
from service.inference.session import load_session
from tests.sequences import MODELS, STEPS, WORDS, built

ONE = StepsColumn(
    name="steps", minimum_length=1, maximum_length=3, columns=(NumberColumn(name="x", minimum=0, maximum=9),)
)


def test_rows_of_one_length_stand_together_and_none_is_padded() -> None:
    texts = ["five", "three hundred", "twelve", "forty five", "three thousand and five"]
    batches, in_range = encode_sequences(WORDS, "float64", texts, UNLIMITED)
    assert [(batch.rows.tolist(), batch.feeds["tokens"].tolist()) for batch in batches] == [
        ([0, 2], [[1], [6]]),
        ([1, 3], [[4, 3], [2, 1]]),
        ([4], [[4, 5, 0, 1]]),
    ]
    assert in_range.all()


def test_a_step_of_one_number_may_be_a_plain_number() -> None:
    (batch,), in_range = encode_sequences(ONE, "float32", [[1, 2.5], [[1], {"x": 2.5}], [10, [0]]], UNLIMITED)
    assert batch.feeds["steps"].dtype == np.float32
    assert batch.feeds["steps"].tolist() == [[[1], [2.5]], [[1], [2.5]], [[10], [0]]]
    assert in_range.tolist() == [True, True, False]
    with pytest.raises(InvalidRequestError, match="step 1 is a number"):
        encode_sequences(STEPS, "float64", [[[1, 2], 3]], UNLIMITED)


def test_a_number_too_large_for_float32_is_refused_where_the_model_has_that() -> None:
    encode_sequences(ONE, "float64", [[1e300]], UNLIMITED)
    with pytest.raises(InvalidRequestError, match=r"finite in the model's float32, however step 0, 'x', is"):
        encode_sequences(ONE, "float32", [[1e300]], UNLIMITED)


def test_limits_hold_for_every_form_of_request() -> None:
    manifest, limits = built("number-words")[1], SequenceLimits(max_length=2)
    for rows in (["three hundred and"], ["five", "three hundred and"]):
        with pytest.raises(InvalidRequestError, match="at most 2 tokens, however it has 3"):
            encode_columns(manifest, {"text": rows}, limits)
        with pytest.raises(InvalidRequestError, match="at most 2 tokens, however it has 3"):
            encode_records(manifest, [{"text": text} for text in rows], limits)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("other", MODELS)
def test_a_graph_of_another_kind_of_sequence_is_refused(name: str, other: str) -> None:
    published = PublishedModel(built(name)[1], built(other)[2])
    if name == other:
        assert load_session(published, "cpu").manifest.name == name
        return
    with pytest.raises(ModelLoadError, match="the graph's inputs must be those of its manifest"):
        load_session(published, "cpu")
