"""The quick reader of the Open Inference Protocol against the route: whatever it answers, the route answers so too."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.contract.errors import NaluError
from models.contract.repository import ModelRepository
from service.api.open_inference import plane
from service.api.open_inference.bodies import read_infer, write_infer
from service.api.open_inference.quick import QuickInfer
from service.api.together import answer_small, answer_together
from service.inference.quick_rows import QuickReader
from service.inference.registry import Registry, load_registry
from service.settings import Settings
from tests.published import publish_all, publish_arithmetic

MAX_ROWS = 6
SETTINGS = Settings(max_rows=MAX_ROWS)

NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers(-(10**20), 10**20).map(str),
    st.sampled_from(["-0.0", "1e39", "3.5e38", "9007199254740993", "0"]),
)
ODD = st.sampled_from(["null", "true", '"1"', "NaN", "1e999", "[]", "[1]", "{}", "01", "", "1,2"])


@pytest.fixture(name="registry", scope="module")
def _registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    root = publish_all(tmp_path_factory.mktemp("repository"))
    publish_arithmetic(root, "multiply", "float32")
    return load_registry(ModelRepository(root))


@pytest.fixture(name="reader", scope="module")
def _reader(registry: Registry) -> QuickReader:
    return QuickReader(registry, MAX_ROWS)


def routed(registry: Registry, model: str, body: bytes) -> bytes:
    session = registry.get(model)
    asked = read_infer(body, None)
    names = [output.name for output in asked.outputs]
    return write_infer(session.manifest, asked, plane.infer(session, asked.tensors, names, SETTINGS, None))[0]


def assert_alike(registry: Registry, reader: QuickReader, model: str, body: bytes) -> bool:
    """Check that the route gives the same bytes as what was answered; return whether it was."""
    request = QuickInfer(reader).read(model, None, body)
    if request is None:
        return False
    answer = answer_small(request)
    if answer is None:
        with pytest.raises(NaluError):
            routed(registry, model, body)
        return False
    assert answer == routed(registry, model, body)
    return True


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Draw requests that are right, nearly right, or broken somewhere."""
    odd = draw(st.integers(0, 3)) == 0
    number = st.one_of(NUMBERS, ODD) if odd else NUMBERS
    n_rows = draw(st.integers(0, MAX_ROWS + 1) if odd else st.integers(1, 4))
    rows = [[draw(number) for _ in range(2)] for _ in range(n_rows)]
    flat = ",".join(",".join(row) for row in rows)
    nested = ",".join(f"[{','.join(row)}]" for row in rows)
    shape = [draw(st.integers(-1, 5)) for _ in range(draw(st.integers(0, 3)))] if odd else [n_rows, 2]
    members = [
        f'"name": "{draw(st.sampled_from(["numeric", "numeric", "a", "other"])) if odd else "numeric"}"',
        f'"shape": {json.dumps(shape)}',
        f'"datatype": "{draw(st.sampled_from(["FP64", "FP32", "INT32", "BOOL", "FP8"] if odd else ["FP64", "FP32"]))}"',
        f'"data": [{nested if draw(st.booleans()) else flat}]',
    ]
    if odd:
        members = draw(st.lists(st.sampled_from([*members, '"parameters": {}']), max_size=5)) + members
    inputs = ", ".join(
        ["{" + ", ".join(draw(st.permutations(members))) + "}"] * (draw(st.integers(0, 2)) if odd else 1)
    )
    fields = [f'"inputs": [{inputs}]']
    output = st.sampled_from(["predictions", "in_range", "y", "numeric"] if odd else ["predictions", "in_range"])
    if draw(st.booleans()):
        wanted = draw(st.lists(output, unique=not odd, max_size=3))
        more = draw(st.sampled_from(["", ', "parameters": {"binary_data": false}', ', "parameters": null'] * (1 + odd)))
        if odd:
            more = draw(st.sampled_from([more, ', "parameters": {"binary_data": true}', ', "x": 1']))
        fields.append('"outputs": [' + ", ".join(f'{{"name": "{name}"{more}}}' for name in wanted) + "]")
    if draw(st.booleans()):
        fields.append(f'"id": {draw(st.sampled_from(["null", "1"])) if odd else json.dumps(draw(st.text(max_size=4)))}')
    if odd and draw(st.booleans()):
        fields.append(draw(st.sampled_from([*fields, '"parameters": {}', '"more": 1'])))
    body = ("{" + ", ".join(draw(st.permutations(fields))) + "}").encode("utf-8", "surrogatepass")
    if odd and draw(st.booleans()):
        at = draw(st.integers(0, len(body)))
        body = body[:at] + draw(st.sampled_from([b"", b",", b"]", b'"', b"{", b"0", b"\xff"])) + body[at + 1 :]
    return body


@settings(deadline=None, max_examples=300)
@given(model=st.sampled_from(["add", "multiply", "divide", "graded", "unknown"]), body=bodies())
def test_what_is_answered_is_answered_so_by_the_route(
    registry: Registry, reader: QuickReader, model: str, body: bytes
) -> None:
    if model == "unknown":
        assert QuickInfer(reader).read(model, None, body) is None
    else:
        assert_alike(registry, reader, model, body)


def body_of(data: list[Any], shape: list[int], **more: Any) -> bytes:
    return json.dumps(
        {"inputs": [{"name": "numeric", "shape": shape, "datatype": "FP32", "data": data}], **more}
    ).encode()


@pytest.mark.parametrize(
    "body",
    [
        body_of([3, 5.5], [1, 2]),
        body_of([[3, 5], [1e300, 2]], [2, 2]),
        body_of([3, 5], [1, 2], id="7"),
        body_of([3, 5], [1, 2], id="ä\n"),
        body_of([3, 5], [1, 2], outputs=[{"name": "predictions"}]),
        body_of([3, 500], [1, 2], outputs=[{"name": "in_range", "parameters": {"binary_data": False}}]),
        body_of([3, 5, 1, 2], [2, 2], outputs=[{"name": "in_range"}, {"name": "predictions"}]),
    ],
)
def test_ordinary_requests_are_answered(registry: Registry, reader: QuickReader, body: bytes) -> None:
    assert assert_alike(registry, reader, "add", body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"inputs": [{"name": "numeric", "name": "numeric", "shape": [1, 2], "datatype": "FP64", "data": [1, 2]}]}',
        b'{"id": "1", "id": "2", "inputs": [{"name": "numeric", "shape": [1, 2], "datatype": "FP64", "data": [1, 2]}]}',
        body_of([1, 2], [1, 2], outputs=[]),
        body_of([1, 2], [1, 2], outputs=[{"name": "predictions"}] * 2),
        body_of([1, 2], [1, 2], outputs=[{"name": "predictions", "parameters": {"binary_data": 0}}]),
        body_of([1, 2], [1, 2], outputs="predictions"),
        body_of([1, 2], [1, 2], outputs=["predictions"]),
        body_of([1, True], [1, 2]),
        body_of([1, 2], [True, 2]),
        body_of([[1, 2], [3]], [2, 2]),
        body_of([1, 2, 3], [1, 2]),
        body_of([1] * (2 * MAX_ROWS + 2), [MAX_ROWS + 1, 2]),
        body_of([], [0, 2]),
        body_of([1, 2], [1, 2], parameters={}),
        b"[]",
    ],
)
def test_doubt_is_left_to_the_route(reader: QuickReader, body: bytes) -> None:
    assert QuickInfer(reader).read("add", None, body) is None


def test_only_the_default_version_is_read(reader: QuickReader) -> None:
    body = body_of([1, 2], [1, 2])
    read = QuickInfer(reader).read

    assert read("multiply", "2", body) is not None
    assert read("multiply", "1", body) is read("multiply", "02", body) is read("graded", None, body) is None


def test_requests_of_both_kinds_share_a_run(reader: QuickReader) -> None:
    tensors = QuickInfer(reader).read("add", None, body_of([1, 2, 3, 4], [2, 2], id="x"))
    rows = reader.read_small(b'{"model": "add", "rows": [{"a": 5, "b": 6}]}')
    assert tensors is not None
    assert rows is not None

    assert answer_together([tensors, rows, tensors]) == [answer_small(one) for one in (tensors, rows, tensors)]
