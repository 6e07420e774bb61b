"""Tables over HTTP: Arrow and CSV in, Arrow, CSV and JSON out, against Python's own arithmetic."""

import csv
import gzip
import io
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from httpx2 import Response
from pyarrow import ipc
from starlette.testclient import TestClient

from service.admission import N_RUNNING
from service.api.negotiation import MEDIA_TYPES
from service.app import create_app
from service.bulk_rows import BATCH_ROWS
from service.settings import Settings
from tests.published import GRADES, publish_all, publish_arithmetic
from tests.serving import serve

ARROW, CSV, JSON = MEDIA_TYPES["arrow"], MEDIA_TYPES["csv"], MEDIA_TYPES["json"]
N_ROWS = 3 * BATCH_ROWS + 17
PAIRS = np.random.default_rng(5).uniform(-20, 20, (N_ROWS, 2))


@pytest.fixture(name="client", scope="module")
def _client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    root = publish_all(tmp_path_factory.mktemp("repository"))
    publish_arithmetic(root, "add")
    settings = Settings(model_repository=root, max_bulk_bytes=4 * 1024**2, max_bulk_rows=2 * N_ROWS)
    with TestClient(create_app(settings)) as client:
        yield client


def stream(table: pa.Table, compression: str | None = None) -> bytes:
    sink = io.BytesIO()
    with ipc.new_stream(sink, table.schema, options=ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table, max_chunksize=10_000)
    return sink.getvalue()


def delimited(pairs: np.ndarray[Any, Any], delimiter: str = ",") -> bytes:
    lines = [delimiter.join(("a", "b")), *(delimiter.join(map(repr, row)) for row in pairs.tolist())]
    return ("\n".join(lines) + "\n").encode()


def post(client: TestClient, body: bytes, form: str = ARROW, model: str = "subtract", **headers: str) -> Response:
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post(f"/predict?model={model}", content=body, headers={"Content-Type": form, **told})


def read(answer: Response) -> tuple[list[float], list[bool]]:
    """Return the first output and `in_range`."""
    assert answer.status_code == 200, answer.text
    kind = answer.headers["content-type"].partition(";")[0]
    if kind == ARROW:
        table = ipc.open_stream(answer.content).read_all()
        assert table.schema.metadata[b"version"].decode() == answer.headers["nalu-version"]
        return table.column(0).to_pylist(), table.column("in_range").to_pylist()
    if kind == CSV:
        rows = list(csv.DictReader(io.StringIO(answer.text)))
        return [float(row["y"]) for row in rows], [row["in_range"] == "true" for row in rows]
    content = answer.json()
    assert (content["model"], str(content["version"])) == (answer.headers["nalu-model"], answer.headers["nalu-version"])
    return [row[0] for row in content["data"]], content["in_range"]


@pytest.mark.parametrize(
    "accept", [None, "*/*", ARROW, CSV, JSON, f"{JSON};q=0.1, {CSV};q=0.9", "text/*", "x/y, */*;q=0.1"]
)
@pytest.mark.parametrize("form", [ARROW, CSV])
def test_every_form_is_answered_in_every_form(client: TestClient, form: str, accept: str | None) -> None:
    table = pa.table({"b": PAIRS[:, 1], "a": PAIRS[:, 0]})
    body = stream(table) if form == ARROW else delimited(PAIRS, ";" if accept == JSON else ",")
    answer = post(client, body, form, **({"Accept": accept} if accept else {"Accept": form}))
    values, inside = read(answer)

    expected = {ARROW: ARROW, CSV: CSV, JSON: JSON, f"{JSON};q=0.1, {CSV};q=0.9": CSV, "text/*": CSV}.get(
        accept or "", form
    )
    assert answer.headers["content-type"].partition(";")[0] == expected
    assert values == (PAIRS[:, 0] - PAIRS[:, 1]).tolist()
    assert inside == (np.abs(PAIRS) <= 10).all(axis=1).tolist()


@pytest.mark.parametrize("kind", ["float32", "float16", "int8", "uint64", "int32 in a dictionary", "decimal"])
def test_numbers_of_every_type_are_taken(client: TestClient, kind: str) -> None:
    plain = pa.array([1, 2, 3, 2])
    cast = {"float16": pa.float16(), "decimal": pa.decimal128(30, 2)}
    column = plain.dictionary_encode() if "dictionary" in kind else plain.cast(cast.get(kind, kind))

    assert read(post(client, stream(pa.table({"a": column, "b": column})), model="add"))[0] == [2, 4, 6, 4]


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]
)
def test_text_of_every_type_and_missing_values_are_taken(client: TestClient, kind: pa.DataType) -> None:
    table = pa.table({"mass": pa.array([2.0, None, 3.0]), "grade": pa.array(["C", "A", None]).cast(kind)})
    answer = post(client, stream(table), model="graded")

    assert read(answer)[0] == [2 * GRADES["C"], 0.0, 21.0]


def test_missing_values_of_delimited_text_are_those_of_files(client: TestClient) -> None:
    body = b"mass;grade\n2,5;C\nNA; A\n3;\n\n"

    assert read(post(client, body, CSV, "graded", Accept=JSON))[0] == [250.0, 0.0, 21.0]


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
@pytest.mark.parametrize("form", [ARROW, CSV, JSON])
def test_compressed_bodies_and_answers(client: TestClient, form: str, encoding: str) -> None:
    codec = pa.Codec(encoding)
    if form == JSON:
        plain = pa.py_buffer(
            b'{"model":"subtract","columns":["a","b"],"data":' + repr(PAIRS[:9000].tolist()).encode() + b"}"
        )
    else:
        plain = pa.py_buffer(
            stream(pa.table({"a": PAIRS[:9000, 0], "b": PAIRS[:9000, 1]})) if form == ARROW else delimited(PAIRS[:9000])
        )
    body = codec.compress(plain, asbytes=True)
    raw = post(client, body, form, Accept=form, Content_Encoding=encoding, Accept_Encoding=encoding)

    assert raw.headers["content-encoding"] == encoding
    expected = (PAIRS[:9000, 0] - PAIRS[:9000, 1]).tolist()
    if encoding == "gzip":  # which the client inflates
        content = raw.content
    else:
        content = pa.CompressedInputStream(pa.BufferReader(raw.content), "zstd").read()
    if form == ARROW:
        assert ipc.open_stream(content).read_all().column("y").to_pylist() == expected
    elif form == CSV:
        assert [float(row["y"]) for row in csv.DictReader(io.StringIO(content.decode()))] == expected
    else:
        assert [row[0] for row in __import__("json").loads(content)["data"]] == expected


def test_a_small_answer_is_not_compressed_and_buffers_of_arrow_may_be(client: TestClient) -> None:
    table = pa.table({"a": [1.0, 2.0], "b": [1.0, 5.0]})
    answer = post(client, stream(table, "zstd"), Accept_Encoding="gzip")

    assert "content-encoding" not in answer.headers
    assert read(answer)[0] == [0.0, -3.0]


def test_the_version_is_named_in_the_query(client: TestClient) -> None:
    body = stream(pa.table({"a": [1.0], "b": [2.0]}))
    old = client.post("/predict?model=add&version=1", content=body, headers={"Content-Type": ARROW})
    new = client.post("/predict?model=add", content=body, headers={"Content-Type": ARROW})

    assert (old.headers["nalu-version"], new.headers["nalu-version"]) == ("1", "2")


@pytest.mark.parametrize(
    ("form", "row", "change", "kind", "message"),
    [
        *(
            (form, row, change, kind, message)
            for form in (ARROW, CSV)
            for row, change, kind, message in (
                (N_ROWS - 1, "nan", "invalid-request", "a value must be given"),
                (BATCH_ROWS, "inf", "invalid-request", "a number must be finite"),
                (BATCH_ROWS + 5, "zero", "input-out-of-domain", "division by zero has no answer"),
                (BATCH_ROWS + 5, "huge", "non-finite-prediction", "the prediction must be finite"),
            )
        ),
        (CSV, 2 * BATCH_ROWS + 1, "text", "invalid-request", "a value must be a number, however it is text"),
        (CSV, BATCH_ROWS + 7, "ragged", "input-shape-mismatch", "one value per column (2), however it has 3"),
    ],
)
def test_a_fault_far_down_is_a_problem_with_its_row(
    client: TestClient, form: str, row: int, change: str, kind: str, message: str
) -> None:
    pairs = np.abs(PAIRS) + 1.0
    value = {"nan": np.nan, "inf": np.inf, "zero": 0.0}.get(change)
    if value is not None:
        pairs[row, 1] = value
    if change == "huge":
        pairs[row] = 1e300, 1e-300
    if form == ARROW:
        body = stream(pa.table({"a": pairs[:, 0], "b": pairs[:, 1]}))
    else:
        lines = delimited(pairs).split(b"\n")
        extra = {"text": b"1.5,heavy", "ragged": b"1,2,3"}.get(change)
        lines[row + 1] = extra or lines[row + 1]
        body = b"\n".join(lines)
    answer = post(client, body, form, "divide")

    assert (answer.status_code, answer.json()["type"]) == (422, kind), answer.text
    (fault,) = answer.json()["errors"]
    assert fault["row"] == row
    assert message in fault["message"]


@pytest.mark.parametrize(
    ("table", "status", "kind", "message"),
    [
        ({"a": [1.0]}, 422, "input-shape-mismatch", "the column is missing"),
        ({"a": [1.0], "b": [1.0], "c": [1.0]}, 422, "input-shape-mismatch", "the model does not know this column"),
        ({"a": [], "b": []}, 422, "input-shape-mismatch", "at least one row"),
        ({"a": ["1"], "b": [1.0]}, 422, "invalid-request", "a value must be a number, however it is text"),
        ({"a": [True], "b": [1.0]}, 422, "invalid-request", "however it is a boolean"),
        ({"a": [[1.0]], "b": [1.0]}, 422, "invalid-request", "a column must hold numbers, text, dates or times"),
        ({"a": [{"x": 1}], "b": [1.0]}, 422, "invalid-request", "a column must hold numbers, text, dates or times"),
        ({"a": [None], "b": [1.0]}, 422, "invalid-request", "a value must be given"),
    ],
)
def test_arrow_that_is_not_the_model_s_is_refused_as_json_is(
    client: TestClient, table: dict[str, list[object]], status: int, kind: str, message: str
) -> None:
    answer = post(client, stream(pa.table(table)))

    assert (answer.status_code, answer.json()["type"]) == (status, kind), answer.text
    assert message in answer.text


def test_a_column_of_arrow_named_twice_is_refused(client: TestClient) -> None:
    table = pa.Table.from_arrays([pa.array([1.0])] * 3, names=["a", "b", "a"])

    assert "named once, however it is named 2 times" in post(client, stream(table)).text


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (b"", 400, "bad-request"),
        (b"a,b\n", 422, "input-shape-mismatch"),
        (b"a\n1\n", 422, "input-shape-mismatch"),
        (b"a,b,c\n1,2,3\n", 422, "input-shape-mismatch"),
        (b"a,a\n1,2\n", 422, "input-shape-mismatch"),
        (b"a,b\n1,\xff\n", 400, "bad-request"),
        (b"a,b\n" + (b"1,2" + b" " * 100 + b"\n") * 20_000 + b"1,\xff\n", 400, "bad-request"),
        (b"a,b\n1,2\n" + b'"' + b"x" * 3_000_000, 400, "bad-request"),
        (b"\x1f\x8b\x00\x00binary", 400, "bad-request"),
        (b"1,2\n3,4\n", 400, "bad-request"),
    ],
    ids=lambda value: ascii(value[:12]) if isinstance(value, bytes) else None,
)
def test_delimited_text_that_is_no_table_is_refused(client: TestClient, body: bytes, status: int, kind: str) -> None:
    answer = post(client, body, CSV)

    assert (answer.status_code, answer.json()["type"]) == (status, kind), answer.text
    assert answer.content.isascii()


@pytest.mark.parametrize(
    "query", ["", "?version=1", "?model=add&model=add", "?model=add&rows=1", "?model=add&version=1.5"]
)
def test_a_query_that_does_not_name_one_model_is_refused(client: TestClient, query: str) -> None:
    answer = client.post(f"/predict{query}", content=b"a,b\n1,2\n", headers={"Content-Type": CSV})

    assert (answer.status_code, answer.json()["type"]) == (422, "invalid-request")


@pytest.mark.parametrize(
    ("headers", "status", "kind"),
    [
        ({"Accept": "image/png"}, 406, "not-acceptable"),
        ({"Accept": f"{CSV};q=0, {ARROW};q=0.0, {JSON};q=x"}, 406, "not-acceptable"),
        ({"Content-Encoding": "br"}, 415, "unsupported-media-type"),
        ({"Content-Type": "text/csv; charset=latin-1"}, 415, "unsupported-media-type"),
        ({"Content-Type": "text/plain"}, 415, "unsupported-media-type"),
    ],
)
def test_formats_that_are_not_read_or_written_are_refused(
    client: TestClient, headers: dict[str, str], status: int, kind: str
) -> None:
    answer = client.post("/predict?model=add", content=b"a,b\n1,2\n", headers={"Content-Type": CSV, **headers})

    assert (answer.status_code, answer.json()["type"]) == (status, kind)


def test_an_unknown_model_is_not_found(client: TestClient) -> None:
    assert post(client, b"a,b\n1,2\n", CSV, "nope").status_code == 404


def test_more_rows_than_allowed_are_refused(client: TestClient) -> None:
    ones = np.ones(2 * N_ROWS + 1, dtype=np.int8)
    arrow = post(client, stream(pa.table({"a": ones, "b": ones})))
    text = post(client, b"a,b\n" + b"1,1\n" * (2 * N_ROWS + 1), CSV)

    for answer in (arrow, text):
        assert answer.status_code == 422
        assert f"at most {2 * N_ROWS} rows" in answer.json()["detail"]


def test_tables_are_counted(client: TestClient) -> None:
    post(client, gzip.compress(delimited(PAIRS[:100])), CSV, "multiply", Content_Encoding="gzip")
    told = client.get("/metrics").text

    assert 'nalu_rows_total{model="multiply",version="1"} 100\n' in told
    assert 'nalu_admission_running{kind="bulk"} 0\n' in told


def test_answers_that_nobody_reads_are_as_many_as_there_are_places(tmp_path: Path) -> None:
    publish_arithmetic(tmp_path, "add")
    table = b"a,b\n" + b"1,2\n" * 1_000_000  # its answer is more than what lies between two sockets
    head = b"POST /predict?model=add HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\n"
    with serve(tmp_path, "--workers", "1", NALU_MAX_QUEUE="0") as served, ExitStack() as stack:
        served.wait_until_ready()
        readers = []
        for _ in range(N_RUNNING):
            reader = stack.enter_context(socket.socket())
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.connect(("127.0.0.1", served.port))
            reader.settimeout(60)
            reader.sendall(head + b"Content-Length: %d\r\n\r\n" % len(table) + table)
            assert reader.recv(12) == b"HTTP/1.1 200"
            readers.append(reader)

        def ask() -> int:
            headers = {"Content-Type": "text/csv", "Accept": "application/json"}
            return served.request("POST", "/predict?model=add", b"a,b\n1,2\n", headers)[0]

        assert ask() == 503
        readers[0].close()
        deadline = time.monotonic() + 30
        while ask() == 503:
            assert time.monotonic() < deadline
