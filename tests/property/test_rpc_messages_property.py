"""Messages that follow the protocol or not: each is answered, or refused with a reason; its forms are the same."""

import json
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.contract.errors import NaluError
from models.contract.repository import ModelRepository
from service.api.open_inference import plane
from service.api.open_inference.bodies import read_infer as read_json
from service.api.open_inference.datatypes import DATATYPES
from service.api.rpc import open_inference_pb2 as pb
from service.api.rpc.arrival import parsed
from service.api.rpc.messages import read_infer, write_infer
from service.api.rpc.statuses import Refusal, refusal_of
from service.errors import UnreadableBodyError
from service.inference.registry import Registry, load_registry
from service.settings import Settings
from tests.published import publish_all


@cache
def registry() -> Registry:
    return load_registry(ModelRepository(publish_all(Path(mkdtemp()))))


LIMITS = Settings(max_rows=50)
NAMES = st.sampled_from(["numeric", "categorical", "a", "b", "mass", "grade", "y", "predictions", "in_range", "", "ü"])
NUMBERS = st.one_of(st.floats(width=64), st.sampled_from([0.0, 1.0, 2.0, 1e308]))
SHAPES = st.lists(st.integers(-1, 4), max_size=3)
CONTENTS = st.one_of(
    st.builds(lambda v: pb.InferTensorContents(fp64_contents=v), st.lists(NUMBERS, max_size=8)),
    st.builds(lambda v: pb.InferTensorContents(fp32_contents=v), st.lists(st.floats(width=32), max_size=8)),
    st.builds(lambda v: pb.InferTensorContents(int_contents=v), st.lists(st.integers(-300, 300), max_size=8)),
    st.builds(lambda v: pb.InferTensorContents(uint64_contents=v), st.lists(st.integers(0, 2**64 - 1), max_size=8)),
    st.builds(lambda v: pb.InferTensorContents(bool_contents=v), st.lists(st.booleans(), max_size=8)),
    st.builds(lambda v: pb.InferTensorContents(bytes_contents=v), st.lists(st.binary(max_size=4), max_size=8)),
    st.none(),
)
PARAMETERS = st.dictionaries(
    st.sampled_from(["sequence_id", "classification", "shared_memory_region", "other"]),
    st.one_of(
        st.builds(lambda v: pb.InferParameter(int64_param=v), st.integers(-5, 5)),
        st.builds(lambda v: pb.InferParameter(string_param=v), st.text(max_size=3)),
        st.just(pb.InferParameter()),
    ),
    max_size=1,
)
INPUTS = st.builds(
    lambda name, datatype, shape, contents, parameters: pb.ModelInferRequest.InferInputTensor(
        name=name, datatype=datatype, shape=shape, contents=contents, parameters=parameters
    ),
    NAMES,
    st.sampled_from([*DATATYPES, "", "FP128"]),
    SHAPES,
    CONTENTS,
    PARAMETERS,
)
REQUESTS = st.builds(
    lambda inputs, raw, outputs, parameters: pb.ModelInferRequest(
        inputs=inputs,
        raw_input_contents=raw,
        outputs=[pb.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in outputs],
        parameters=parameters,
    ),
    st.lists(INPUTS, max_size=3),
    st.lists(st.binary(max_size=32), max_size=2),
    st.lists(NAMES, max_size=2),
    PARAMETERS,
)


VALID = pb.ModelInferRequest(
    inputs=[
        pb.ModelInferRequest.InferInputTensor(
            name="numeric", datatype="FP64", shape=[1, 2], contents=pb.InferTensorContents(fp64_contents=[3, 5])
        )
    ]
)


def answered(request: pb.ModelInferRequest, model: str) -> pb.ModelInferResponse | Refusal:
    """Return the answer, or how the call ends that has none; any error that is not ours is raised."""
    session = registry().get(model)
    try:
        asked = read_infer(request)
        outputs = plane.infer(session, asked.tensors, asked.outputs, LIMITS, None)
    except NaluError as error:
        return refusal_of(error)
    return write_infer(session.manifest, request, outputs)


@given(REQUESTS, st.sampled_from(["divide", "graded"]))
@example(VALID, "divide")
@settings(deadline=None, max_examples=300)
def test_a_message_is_answered_or_refused_with_a_reason(request: pb.ModelInferRequest, model: str) -> None:
    answer = answered(request, model)

    if isinstance(answer, Refusal):
        assert answer.status in (400, 422), answer
        assert answer.details
        assert request != VALID
    else:
        assert bool(answer.raw_output_contents) == bool(request.raw_input_contents)
        assert answer.SerializeToString()


@given(st.binary(max_size=60))
@settings(deadline=None, max_examples=200)
def test_bytes_are_a_message_or_refused(raw: bytes) -> None:
    try:
        message = parsed(pb.ModelInferRequest, raw)
    except UnreadableBodyError:
        return
    answer = answered(message, "divide")
    assert isinstance(answer, Refusal)
    assert answer.status in (400, 422)


@given(st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(0.1, 1e3)), min_size=1, max_size=5))
@settings(deadline=None, max_examples=50)
def test_the_three_forms_of_a_tensor_are_the_same_tensor(rows: list[tuple[float, float]]) -> None:
    shape = [len(rows), 2]
    flat = [value for row in rows for value in row]
    typed = pb.ModelInferRequest(
        inputs=[
            pb.ModelInferRequest.InferInputTensor(
                name="numeric", datatype="FP64", shape=shape, contents=pb.InferTensorContents(fp64_contents=flat)
            )
        ]
    )
    raw = pb.ModelInferRequest(
        inputs=[pb.ModelInferRequest.InferInputTensor(name="numeric", datatype="FP64", shape=shape)],
        raw_input_contents=[np.array(rows).tobytes()],
    )
    body = json.dumps({"inputs": [{"name": "numeric", "datatype": "FP64", "shape": shape, "data": flat}]}).encode()

    found = [read_infer(typed).tensors, read_infer(raw).tensors, read_json(body, None).tensors]

    for tensors in found:
        assert tensors["numeric"].tolist() == [list(row) for row in rows]
