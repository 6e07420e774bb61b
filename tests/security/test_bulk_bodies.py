"""Tables that lie about their size, or are broken: each refused with a problem, and none takes the memory it claims."""

import gzip
import io
import resource
import struct
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
from httpx2 import Response
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import ipc
from starlette.testclient import TestClient

from service.api.negotiation import MEDIA_TYPES
from service.app import create_app
from service.settings import Settings
from tests.published import publish_all

ARROW, CSV = MEDIA_TYPES["arrow"], MEDIA_TYPES["csv"]
LIMIT = 1024 * 1024
TABLE = pa.table({"a": np.arange(50.0), "b": np.arange(50.0)})


@pytest.fixture(name="client", scope="module")
def _client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    root = publish_all(tmp_path_factory.mktemp("repository"))
    settings = Settings(model_repository=root, max_bulk_bytes=LIMIT, max_bulk_rows=100_000, max_body_bytes=LIMIT)
    with TestClient(create_app(settings)) as client:
        yield client


def stream(table: pa.Table, compression: str | None = None) -> bytes:
    sink = io.BytesIO()
    with ipc.new_stream(sink, table.schema, options=ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table)
    return sink.getvalue()


def post(
    client: TestClient, body: bytes, form: str = ARROW, model: str = "add", encoding: str = "identity"
) -> Response:
    headers = {"Content-Type": form, "Content-Encoding": encoding}
    return client.post(f"/predict?model={model}", content=body, headers=headers)


def assert_refused(client: TestClient, answer: Response, status: int, kind: str) -> None:
    """Check a refusal, and that a good table is answered after it."""
    assert (answer.status_code, answer.json()["type"]) == (status, kind), answer.text
    assert answer.content.isascii()
    assert len(answer.content) < 20_000
    good = post(client, b"a,b\n3,5\n", CSV)
    assert (good.status_code, good.text) == (200, "y,in_range\n8,true\n")


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
@pytest.mark.parametrize("form", [ARROW, CSV, "application/json"])
def test_a_bomb_is_too_large(client: TestClient, form: str, encoding: str) -> None:
    start = {
        ARROW: stream(TABLE)[:-8],
        CSV: b"a,b\n",
        "application/json": b'{"model": "add", "rows": [ ',
    }
    filler = {ARROW: b"\xff\xff\xff\xff\x00\x00\x80\x00", CSV: b"1,2\n", "application/json": b"    "}
    content = start[form] + filler[form] * (40 * LIMIT // len(filler[form]))
    body = pa.Codec(encoding).compress(content, asbytes=True)
    assert len(body) < LIMIT
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer = post(client, body, form, encoding=encoding)

    assert_refused(client, answer, 413, "body-too-large")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30 * LIMIT / 1024


def test_buffers_of_arrow_that_expand_beyond_the_limit_are_too_large(client: TestClient) -> None:
    body = stream(pa.table({"a": np.zeros(90_000), "b": np.zeros(90_000)}), "zstd")
    assert len(body) < 10_000

    assert_refused(client, post(client, body), 413, "body-too-large")


def test_a_buffer_that_claims_terabytes_is_too_large(client: TestClient) -> None:
    body = stream(TABLE, "zstd")
    claimed = max(i for i in range(len(body) - 8) if struct.unpack_from("<q", body, i)[0] == TABLE["a"].nbytes)
    lying = body[:claimed] + struct.pack("<q", 2**42) + body[claimed + 8 :]

    assert_refused(client, post(client, lying), 413, "body-too-large")


@pytest.mark.parametrize("n_rows", [2**60, 100_001])
def test_a_batch_without_buffers_that_claims_many_rows_is_refused(client: TestClient, n_rows: int) -> None:
    body = stream(pa.table({"a": pa.nulls(77), "b": pa.nulls(77)}))
    at = [i for i in range(len(body) - 8) if struct.unpack_from("<q", body, i)[0] == 77]
    for i in at:
        body = body[:i] + struct.pack("<q", n_rows) + body[i + 8 :]
    assert at

    assert_refused(client, post(client, body), 422, "invalid-request")


@pytest.mark.parametrize("kind", ["dictionary", "view"])
def test_text_shown_many_times_is_not_copied(client: TestClient, kind: str) -> None:
    """50,000 rows of one text of 500 kB would be 25 GB."""
    text = "x" * 500_000
    if kind == "dictionary":
        grade = pa.DictionaryArray.from_arrays(pa.array(np.zeros(50_000, dtype=np.int8)), pa.array([text]))
    else:
        one = pa.array([text]).cast(pa.string_view())
        views = pa.py_buffer(bytes(one.buffers()[1]) * 50_000)
        grade = pa.Array.from_buffers(pa.string_view(), 50_000, [None, views, *one.buffers()[2:]])
    body = stream(pa.table({"mass": np.ones(50_000, dtype=np.int8), "grade": grade}))
    answer = post(client, body, model="graded")

    if kind == "dictionary":
        assert_refused(client, answer, 422, "invalid-request")
        assert "a level must be one seen in training" in answer.text
    else:
        assert answer.status_code == 413


@pytest.mark.parametrize("column", ["a", "b"])
def test_a_type_of_which_pyarrow_has_no_arrays_is_refused(client: TestClient, column: str) -> None:
    """Months as an interval: made of a list, whose description in the schema is as empty, by its number there."""
    body = stream(pa.table({"a": [1.0], "b": [1.0]} | {column: pa.array([[1]], pa.list_(pa.int8()))}))
    a_list, months = b"\x00\x00\x01\x0c", b"\x00\x00\x01\x0b"
    assert body.count(a_list) == 1
    answer = post(client, body.replace(a_list, months))

    assert_refused(client, answer, 422, "invalid-request")
    assert "however it holds month_interval" in answer.json()["detail"]


@pytest.mark.parametrize("n_bytes", [1, 4, 8, 9, 100, -9, -100])
def test_a_stream_that_ends_early_is_no_stream(client: TestClient, n_bytes: int) -> None:
    assert_refused(client, post(client, stream(TABLE)[:n_bytes]), 400, "bad-request")


@pytest.mark.parametrize(
    "body", [b"", b"ARROW1\x00\x00", b"a,b\n1,2\n", b"\xff\xff\xff\xff\xff\xff\xff\x7f", b"\xff" * 64]
)
def test_what_is_no_arrow_is_a_bad_request(client: TestClient, body: bytes) -> None:
    assert_refused(client, post(client, body), 400, "bad-request")


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
@pytest.mark.parametrize("form", [CSV, "application/json"])
def test_broken_compression_is_a_bad_request(client: TestClient, form: str, encoding: str) -> None:
    plain = pa.Codec(encoding).compress(b"a,b\n1,2\n" * 100, asbytes=True)
    for body in (b"no compression", plain[:-6], gzip.compress(b"a,b\n")[:11]):
        assert_refused(client, post(client, body, form, encoding=encoding), 400, "bad-request")


@settings(max_examples=150, deadline=None)
@given(
    flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=6), zstd=st.booleans()
)
def test_a_damaged_stream_never_fails_inside(client: TestClient, flips: list[tuple[int, int]], zstd: bool) -> None:
    body = bytearray(stream(TABLE, "zstd" if zstd else None))
    for at, value in flips:
        body[at % len(body)] = value
    answer = post(client, bytes(body))

    assert answer.status_code in (200, 400, 413, 422), answer.text
