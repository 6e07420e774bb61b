"""The quick reader against the strict one: whatever it accepts, the strict one accepts and reads the same."""

import json
from collections.abc import Callable
from math import inf
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.contract.errors import ModelNotFoundError, NaluError
from models.contract.repository import ModelRepository
from service.api.json_body import parse_json
from service.api.schemas import PredictRecordsRequest, read_predict_request
from service.api.strict_blocks import read_strictly_in_blocks
from service.errors import MAX_FAULTS, FaultyInputError, InputShapeError, InvalidRequestError
from service.inference import body_blocks, costs
from service.inference.batches import UNLIMITED
from service.inference.encoding import Encoded, encode_records, encode_split
from service.inference.number_blocks import column_extremes
from service.inference.quick_rows import QuickReader, QuickRequest
from service.inference.registry import Registry, load_registry
from service.inference.session import ModelSession
from tests.published import GRADES, publish_all, publish_arithmetic

MAX_ROWS = 50

NUMBER_TEXTS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers(-(10**25), 10**25).map(str),
    st.sampled_from(["-0", "-0.0", "1e5", "1E-3", "0.1e-400", "1e308", "3.5e38", "9007199254740993", "4.35"]),
    st.from_regex(r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?", fullmatch=True),
)
ODD_TEXTS = st.sampled_from(
    [
        "null",
        "true",
        '"1"',
        "NaN",
        "-Infinity",
        "1e999",
        "01",
        "1.",
        ".5",
        "+1",
        "-",
        "[]",
        "[1]",
        "{}",
        '""',
        "1 2",
        "",
    ]
)
SPACES = st.sampled_from(["", "", "", " ", "\n\t", "  "])


@pytest.fixture(name="registry", scope="module")
def _registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    root = publish_all(tmp_path_factory.mktemp("repository"))
    publish_arithmetic(root, "multiply", "float32")
    return load_registry(ModelRepository(root))


@pytest.fixture(name="reader", scope="module")
def _reader(registry: Registry) -> QuickReader:
    return QuickReader(registry, MAX_ROWS)


@pytest.fixture(name="whole_and_in_blocks", params=[False, True], ids=["whole", "in blocks"])
def _whole_and_in_blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read small bodies whole, then cut even those between rows."""
    if request.param:
        monkeypatch.setattr(body_blocks, "BLOCK_BYTES", 12)


def read_strictly(registry: Registry, body: bytes) -> tuple[ModelSession, Encoded, bool]:
    request = read_predict_request(parse_json(body), MAX_ROWS)
    session = registry.get(request.model, request.version)
    if isinstance(request, PredictRecordsRequest):
        return session, encode_records(session.manifest, request.rows), False
    return session, encode_split(session.manifest, request.columns, request.data), True


def assert_never_disagree(registry: Registry, reader: QuickReader, body: bytes) -> bool:
    """Check that the strict reader agrees with what the quick one accepted; return whether it accepted."""
    found = reader.read(body)
    at_once = reader.read_at_once(bytearray(body + b"]}]}"), len(body))  # what is behind the body is another's
    for quick in (found, at_once):
        if quick is not None:
            assert_read_alike(quick, *read_strictly(registry, body))
    return found is not None


def assert_read_alike(quick: QuickRequest, session: ModelSession, encoded: Encoded, split: bool) -> None:
    assert quick.session is session
    assert quick.split is split
    assert quick.encoded.numeric.dtype == encoded.numeric.dtype
    assert quick.encoded.numeric.shape == encoded.numeric.shape
    assert quick.encoded.numeric.tobytes() == encoded.numeric.tobytes()
    assert quick.encoded.categorical.tolist() == encoded.categorical.tolist()
    assert quick.encoded.in_range.tolist() == encoded.in_range.tolist()


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Draw requests that are right, nearly right, or broken somewhere."""
    odd = draw(st.integers(0, 3)) == 0
    text = st.one_of(NUMBER_TEXTS, ODD_TEXTS) if odd else NUMBER_TEXTS
    if draw(st.booleans()):
        model, names = draw(st.sampled_from(["multiply", "add", "divide"])), ["a", "b"]
        values = [text, text]
    else:
        model, names = "graded", ["mass", "grade"]
        level = st.sampled_from([*(json.dumps(grade) for grade in GRADES), "null", '"\\u0041"', '"Z"', '""', "1"])
        values = [st.one_of(text, st.just("null")), level]
    n_rows = draw(st.integers(0, 5) if draw(st.integers(0, 9)) else st.integers(MAX_ROWS - 1, MAX_ROWS + 2))
    rows = [[draw(value) for value in values] for _ in range(n_rows)]
    gap = draw(SPACES)
    colon, comma = f"{gap}:{draw(SPACES)}", f"{draw(SPACES)},{gap}"
    if draw(st.booleans()):
        written = [
            "{" + comma.join(f'"{name}"{colon}{value}' for name, value in zip(names, row, strict=True)) + "}"
            for row in rows
        ]
        members = [f'"rows"{colon}[{gap}{comma.join(written)}{gap}]']
    else:
        written = [f"[{gap}{comma.join(row)}]" for row in rows]
        members = [
            f'"columns"{colon}[{comma.join(json.dumps(name) for name in names)}]',
            f'"data"{colon}[{comma.join(written)}{gap}]',
        ]
    members.insert(0, f'"model"{colon}"{model}"')
    if draw(st.integers(0, 3)) == 0:
        members.insert(
            draw(st.integers(0, len(members))),
            f'"version"{colon}{draw(st.sampled_from(["1", "2", "null", "1.0", "true", "3"]))}',
        )
    if odd and draw(st.booleans()):
        members.append(draw(st.sampled_from(members)))
    body = ("{" + comma.join(members) + "}" + gap).encode()
    if odd and draw(st.booleans()):
        at = draw(st.integers(0, len(body)))
        gone = draw(st.integers(0, 3))
        body = (
            body[:at]
            + draw(st.sampled_from([b"", b",", b"]", b"[", b"}", b'"', b"{", b"0", b"\\", b"\xff", b" "]))
            + body[at + gone :]
        )
    return body


@pytest.mark.usefixtures("whole_and_in_blocks")
@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=bodies())
def test_what_is_accepted_is_read_as_the_strict_reader_does(
    registry: Registry, reader: QuickReader, body: bytes
) -> None:
    assert_never_disagree(registry, reader, body)


def outcome(read: Callable[[], tuple[ModelSession, Encoded] | None]) -> Any:
    """Return what a reader read, or the kind of its refusal with the faults counted."""
    try:
        found = read()
    except FaultyInputError as error:
        return type(error), error.n_faults, sorted(map(str, error.faults))
    except NaluError as error:
        return type(error)
    if found is None:
        return None
    session, encoded = found
    return session.manifest.name, *(part.tolist() for part in encoded[:3])


def assert_blocks_are_read_as_the_whole(registry: Registry, body: bytes) -> Any:
    def in_blocks() -> tuple[ModelSession, Encoded] | None:
        found = read_strictly_in_blocks(registry, body, MAX_ROWS, UNLIMITED)
        return None if found is None else (found.session, found.encoded)

    blocks = outcome(in_blocks)
    if blocks is not None:
        whole = outcome(lambda: read_strictly(registry, body)[:2])
        many = isinstance(whole, tuple) and len(whole[2]) == MAX_FAULTS
        assert repr(blocks) == repr(whole) or (many and blocks[0] == whole[0])
    return blocks


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=bodies())
def test_a_body_read_strictly_in_blocks_is_read_or_refused_as_the_whole(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    monkeypatch.setattr(body_blocks, "BLOCK_BYTES", 12)
    assert_blocks_are_read_as_the_whole(registry, body)


@pytest.mark.parametrize(
    ("faulty", "at_least"),
    [
        ([{"a": 1, "b": 2}] * 30 + [{"a": 1, "b": "x"}] * 2, (InvalidRequestError, 2)),
        ([{"a": 1}] * 2 + [{"a": 1, "b": None}] * 30, (InputShapeError, 2)),
        ([{"a": 1, "b": 2}] * 40 + [{"a": 1, "b": 2, "c": 3}], (InputShapeError, 1)),
        ([{"a": 1, "b": 2}] * 9 + [[1, 2], None], (InvalidRequestError, 2)),
        ([{"a": 1, "b": 2}] * (MAX_ROWS + 1), (InvalidRequestError, 1)),
    ],
)
def test_faults_of_a_large_body_are_told_with_their_rows(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, faulty: list[Any], at_least: tuple[Any, int]
) -> None:
    monkeypatch.setattr(body_blocks, "BLOCK_BYTES", 100)
    body = json.dumps({"model": "add", "rows": faulty}).encode()

    blocks = assert_blocks_are_read_as_the_whole(registry, body)

    assert blocks[:2] == at_least


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ('{"model": "unknown", "rows": [{"a": 1, "b": 2}, {"a": 1, "b": 2}]}', ModelNotFoundError),
        ('{"model": "add", "more": 1, "rows": [{"a": 1, "b": 2}, {"a": 1, "b": 2}]}', InvalidRequestError),
        ('{"model": "add", "columns": ["a", "c"], "data": [[1, 2], [1, 2]]}', InputShapeError),
        ('{"model": "add", "rows": [{"a": 1, "b": 2}, {"a": 1, "b": 2, "b": 3}]}', InvalidRequestError),
        ('{"model": "add", "rows": [{"a": 1, "b": 2}, {"a": 1, "b": NaN}]}', InvalidRequestError),
        ('{"model": "add", "rows": []}', InputShapeError),
        ('{"model": "add", "rows": [{"a": 1, "b": 2}], "interval": 0.9}', None),
        ('{"model": "add", "rows": [{"a": 1, "b": 2},, {"a": 1, "b": 2}]}', "whole"),
        ('{"model": "add", "rows": [{"a": 1, "b": 2}, {"a": 1, "b": 2},]}', "whole"),
        ('{"model": "add", "more": {"rows": []}, "rows": [{"a": 1, "b": 2}]}', "whole"),
        ('{"model": "add"}', "whole"),
        ('{"model": "graded", "rows": [{"mass": 1, "grade": "}, {"}]}', "whole"),
    ],
)
def test_what_is_around_the_rows_is_held_to_the_same_rules(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, body: str, kind: Any
) -> None:
    monkeypatch.setattr(body_blocks, "BLOCK_BYTES", 12)

    blocks = assert_blocks_are_read_as_the_whole(registry, body.encode())

    if kind == "whole":
        assert blocks is None
    elif kind is None:
        assert blocks[0] == "add"
    else:
        assert kind in (blocks, blocks[0] if isinstance(blocks, tuple) else None)


RIGHT: list[dict[str, Any]] = [
    {"model": "add", "rows": [{"a": 1, "b": 2.5}]},
    {"model": "add", "rows": [{"b": 1, "a": -2.5e300}, {"a": 0, "b": 0}, {"a": 7, "b": 8}]},
    {"model": "add", "version": 1, "rows": [{"a": 1, "b": 2}]},
    {"model": "multiply", "version": 2, "rows": [{"a": 1, "b": 2}]},
    {"rows": [{"a": 1, "b": 2}, {"a": 3, "b": 2}], "version": None, "model": "multiply"},
    {"model": "add", "columns": ["a", "b"], "data": [[1, 2], [3, 4.5], [5, 6]]},
    {"model": "graded", "rows": [{"mass": None, "grade": "A"}, {"mass": 3, "grade": None}, {"grade": "C", "mass": 1}]},
    {"model": "graded", "columns": ["mass", "grade"], "data": [[None, "A"], [3, None], [1, "C"]]},
]


@pytest.mark.usefixtures("whole_and_in_blocks")
@pytest.mark.parametrize("request_", RIGHT, ids=lambda request: json.dumps(request)[:60])
@pytest.mark.parametrize("indent", [None, 2])
def test_ordinary_requests_are_not_left_to_the_strict_reader(
    registry: Registry, reader: QuickReader, request_: dict[str, Any], indent: int | None
) -> None:
    body = json.dumps(request_, indent=indent).encode()
    assert assert_never_disagree(registry, reader, body)
    at_once = reader.read_at_once(bytearray(body + b"]}"), len(body))  # memory that held a longer body before
    assert (at_once is not None) is ("data" in request_ and request_["model"] != "graded")


@pytest.mark.usefixtures("whole_and_in_blocks")
@pytest.mark.parametrize(
    "body",
    [
        '{"model": "add", "rows": [{"a": 1, "a": 1, "b": 2}]}',
        '{"model": "add", "model": "add", "rows": [{"a": 1, "b": 2}]}',
        '{"model": "add", "rows": [{"a": 9, "b": 9}], "rows": [{"a": 1, "b": 2}]}',
        '{"model": "add", "columns": ["a", "b"], "columns": ["a", "b"], "data": [[1, 2]]}',
        '{"model": "add", "columns": ["a", "b"], "data": [[9, 9]], "data": [[1, 2]]}',
        '{"model": "graded", "rows": [{"mass": 1, "grade": "B", "grade": "A"}]}',
        '{"model": "add", "columns": ["a", "b"], "data": [[1], [1, 2, 3]]}',
        '{"model": "add", "columns": ["a", "b"], "data": [[1, [2]], [3, 4]]}',
        '{"model": "add", "columns": ["a", "b"], "data": [[1, 2], [3, 4],]}',
        '{"model": "add", "columns": ["a", "b"], "data": [[1, 2] [3, 4]]}',
        '{"model": "add", "columns": ["a", "b"], "data": [[1, 2], [3, 1e999]]}',
        '{"model": "multiply", "columns": ["a", "b"], "data": [[1, 2], [3, 1e39]]}',
        '{"model": "add", "columns": ["a", "b"], "data": [[1, 2], [3, 4]]}]',
        '{"model": "add", "columns": ["a", "b"], "data": []}',
        '{"model": "add", "rows": []}',
        '{"model": "add", "version": 1.0, "rows": [{"a": 1, "b": 2}]}',
        '{"model": "multiply", "version": 1, "rows": [{"a": 1, "b": 2}]}',
        '{"model": "unknown", "rows": [{"a": 1, "b": 2}]}',
        "[]",
    ],
)
def test_doubt_is_left_to_the_strict_reader(reader: QuickReader, body: str) -> None:
    assert reader.read(body.encode()) is None
    assert reader.read_at_once(body.encode(), len(body)) is None


@pytest.mark.usefixtures("whole_and_in_blocks")
def test_too_many_rows_are_left_to_the_strict_reader(reader: QuickReader) -> None:
    most = {"model": "add", "rows": [{"a": 1, "b": 2}] * MAX_ROWS}
    more = {"model": "add", "rows": [{"a": 1, "b": 2}] * (MAX_ROWS + 1)}

    assert reader.read(json.dumps(most).encode()) is not None
    assert reader.read(json.dumps(more).encode()) is None


def test_a_large_body_is_read_in_blocks(registry: Registry) -> None:
    rows = np.random.default_rng(0).normal(size=(20_000, 2)).tolist()
    split = json.dumps({"model": "add", "columns": ["a", "b"], "data": rows}).encode()
    records = json.dumps({"model": "add", "rows": [{"a": a, "b": b} for a, b in rows]}).encode()
    reader = QuickReader(registry, 100_000)

    assert min(len(split), len(records)) > 4 * body_blocks.BLOCK_BYTES
    for request in (reader.read(split), reader.read(records)):
        assert request is not None
        assert request.encoded.numeric.tolist() == rows


@pytest.mark.parametrize("n_rows", [1, 7, 63, 64, 71, 200])
def test_extremes_of_columns_are_numpy_s(n_rows: int) -> None:
    numbers = np.random.default_rng(n_rows).normal(size=(n_rows, 3))

    lowest, highest = column_extremes(numbers)

    assert lowest.tolist() == numbers.min(axis=0).tolist()
    assert highest.tolist() == numbers.max(axis=0).tolist()


def test_what_would_hold_up_the_event_loop_is_not_read_there(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = json.dumps({"model": "add", "columns": ["a", "b"], "data": [[1, 2]] * 50}).encode()
    for row_s, is_read in ((1e-6, True), (costs.AT_ONCE_S / 51, True), (costs.AT_ONCE_S / 49, False), (inf, False)):
        monkeypatch.setattr(costs, "run_seconds", lambda _session, n_rows, row_s=row_s: n_rows * row_s)
        reader = QuickReader(registry, 100)

        assert (reader.read_at_once(body, len(body)) is not None) is is_read
        assert reader.read(body) is not None


def test_a_registry_without_models_leaves_everything_to_the_strict_reader() -> None:
    assert QuickReader(Registry({}), 10).read(b'{"model": "add", "rows": [{"a": 1, "b": 2}]}') is None
