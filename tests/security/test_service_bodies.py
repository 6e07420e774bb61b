"""Bodies that must be refused with the right problem, without an echo, and without harm to the next request."""

import json
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from httpx2 import Client, Response
from hypothesis import given, settings
from hypothesis import strategies as st

from service.settings import Settings
from tests.paths import PATHS, client_on
from tests.published import publish_all

JSON = {"Content-Type": "application/json"}
LIMIT = 1024 * 1024


@pytest.fixture(name="client", scope="module", params=PATHS)
def _client(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Client]:
    root = publish_all(tmp_path_factory.mktemp("repository"))
    with client_on(request.param, Settings(model_repository=root, max_body_bytes=LIMIT)) as client:
        yield client


def assert_problem(client: Client, answer: Response, status: int, kind: str) -> dict[str, Any]:
    """Check a refusal, and that a good request is answered after it."""
    assert (answer.status_code, answer.json()["type"]) == (status, kind), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(answer.content) < 20_000
    assert answer.content.isascii()
    good = client.post("/predict", json={"model": "multiply", "rows": [{"a": 3, "b": 5}]})
    assert (good.status_code, good.json()["predictions"]) == (200, [{"y": 15.0}])
    problem: dict[str, Any] = answer.json()
    return problem


def assert_answered_or_refused(client: Client, body: bytes) -> None:
    answer = client.post("/predict", content=body, headers=JSON)

    assert answer.status_code in {200, 400, 404, 422}
    assert answer.headers["content-type"] == (
        "application/json" if answer.status_code == 200 else "application/problem+json"
    )


def product_of(value: str) -> bytes:
    """Return a request whose first value is the JSON text given."""
    return b'{"model": "multiply", "rows": [{"a": ' + value.encode() + b', "b": 5}]}'


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b'{"model": "multiply\xff"}',
        b"\xef\xbb\xbf" + product_of("3"),
        product_of("3").decode().encode("utf-16"),
        b"\x00" * 100,
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"model":' * 50_000 + b"1" + b"}" * 50_000,
        product_of("[" * 100_000 + "]" * 100_000),
        product_of("1" * 4301),
        product_of("1" + "0" * 5000),
        product_of("-" + "9" * 100_000),
        product_of("0x10"),
        product_of("'3'"),
        product_of("3") + b"{}",
        product_of("03"),
        product_of("1e"),
        product_of('"\n"'),
    ],
    ids=lambda body: ascii(body[:20]),
)
def test_what_is_no_json_is_a_bad_request(client: Client, body: bytes) -> None:
    assert_problem(client, client.post("/predict", content=body, headers=JSON), 400, "bad-request")


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("NaN", "NaN"),
        ("Infinity", "Infinity"),
        ("-Infinity", "Infinity"),
        ("1e999", "infinite"),
        ("-1e999", "infinite"),
        ("1" * 4300, "infinite"),
        ("true", "a boolean"),
        ("false", "a boolean"),
        ('"1"', "text"),
        ('""', "text"),
        ('"three"', "text"),
        ('"\\ud800"', "text"),
        ("null", "missing"),
        ("[3]", "a list"),
        ('{"a": 3}', "an object"),
    ],
)
def test_what_is_no_finite_number_is_refused(client: Client, value: str, told: str) -> None:
    answer = client.post("/predict", content=product_of(value), headers=JSON)

    problem = assert_problem(client, answer, 422, "invalid-request")
    assert told in problem["errors"][0]["message"]
    if told not in ("NaN", "Infinity"):
        assert (problem["errors"][0]["row"], problem["errors"][0]["column"]) == (0, "a")


@pytest.mark.parametrize(
    "body",
    [
        "[]",
        "null",
        "3",
        '"multiply"',
        "{}",
        '{"model": "multiply"}',
        '{"model": "multiply", "rows": null}',
        '{"model": "multiply", "rows": {"a": 1, "b": 2}}',
        '{"model": "multiply", "rows": [[1, 2]]}',
        '{"model": "multiply", "rows": [null]}',
        '{"model": "multiply", "rows": [{"a": 1, "b": 2}], "columns": ["a", "b"], "data": [[1, 2]]}',
        '{"model": "multiply", "rows": [{"a": 1, "b": 2}], "intervals": 0.9}',
        '{"model": "multiply", "rows": [{"a": 1, "b": 2}], "\\ud800": 1}',
        '{"model": "multiply", "columns": ["a", "b"]}',
        '{"model": "multiply", "columns": ["a", 1], "data": [[1, 2]]}',
        '{"model": "multiply", "columns": "ab", "data": [[1, 2]]}',
        '{"model": "multiply", "columns": ["a", "b"], "data": ["12"]}',
        '{"model": "multiply", "columns": ["a", "b"], "data": [{"a": 1, "b": 2}]}',
        '{"rows": [{"a": 1, "b": 2}]}',
        '{"model": null, "rows": [{"a": 1, "b": 2}]}',
        '{"model": 5, "rows": [{"a": 1, "b": 2}]}',
        '{"model": "", "rows": [{"a": 1, "b": 2}]}',
        '{"model": "\\ud800", "rows": [{"a": 1, "b": 2}]}',
        '{"model": "' + "x" * 300 + '", "rows": [{"a": 1, "b": 2}]}',
        '{"model": "multiply", "model": "add", "rows": [{"a": 1, "b": 2}]}',
        '{"model": "multiply", "rows": [{"a": 1, "b": 2, "a": 3}]}',
        '{"model": "multiply", "rows": [{"a": 1, "b": 2, "\\u0061": 3}]}',
        *(
            f'{{"model": "multiply", "version": {version}, "rows": [{{"a": 1, "b": 2}}]}}'
            for version in ("0", "-1", "1.5", "1.0", '"1"', "true", "[1]", "1" + "0" * 30)
        ),
        '{"model": "graded", "rows": [{"mass": 1, "grade": "D"}]}',
        '{"model": "graded", "rows": [{"mass": 1, "grade": "\\ud800"}]}',
        '{"model": "graded", "rows": [{"mass": 1, "grade": 1}]}',
        '{"model": "graded", "rows": [{"mass": 1, "grade": true}]}',
    ],
)
def test_what_follows_no_form_is_refused(client: Client, body: str) -> None:
    assert_problem(client, client.post("/predict", content=body.encode(), headers=JSON), 422, "invalid-request")


@pytest.mark.parametrize(
    "body",
    [
        '{"model": "multiply", "rows": []}',
        '{"model": "multiply", "rows": [{}]}',
        '{"model": "multiply", "rows": [{"a": 1}]}',
        '{"model": "multiply", "rows": [{"a": 1, "b": 2, "c": 3}]}',
        '{"model": "multiply", "rows": [{"a": 1, "b": 2}, {"a": 1, "B": 2}]}',
        '{"model": "multiply", "rows": [{"a": 1, "b": 2, "\\ud800": 3}]}',
        '{"model": "multiply", "columns": ["\\ud800", "b"], "data": [[1, 2]]}',
        '{"model": "multiply", "columns": [], "data": []}',
        '{"model": "multiply", "columns": ["a", "b"], "data": []}',
        '{"model": "multiply", "columns": ["a", "b"], "data": [[]]}',
        '{"model": "multiply", "columns": ["a", "b"], "data": [[1, 2], [3]]}',
        '{"model": "multiply", "columns": ["a", "b"], "data": [[1, 2], [3, 4, 5]]}',
        '{"model": "multiply", "columns": ["a"], "data": [[1]]}',
        '{"model": "multiply", "columns": ["a", "b", "a"], "data": [[1, 2, 3]]}',
        '{"model": "multiply", "columns": ["a", "b", "c"], "data": [[1, 2, 3]]}',
    ],
)
def test_another_shape_than_the_model_s_is_refused(client: Client, body: str) -> None:
    answer = client.post("/predict", content=body.encode(), headers=JSON)

    assert_problem(client, answer, 422, "input-shape-mismatch")
    orjson.loads(answer.content)  # refuses a lone surrogate, as other strict clients do


@pytest.mark.parametrize("name", ["multply", "..", "../multiply", "MULTIPLY", "multiply/1", "a\x00b", "mul\u0442iply"])
def test_an_unknown_model_is_not_found(client: Client, name: str) -> None:
    answer = client.post("/predict", json={"model": name, "rows": [{"a": 1, "b": 2}]})

    problem = assert_problem(client, answer, 404, "model-not-found")
    assert "available: add, divide, graded, multiply, subtract" in problem["detail"]


def test_an_unknown_version_is_not_found(client: Client) -> None:
    answer = client.post("/predict", json={"model": "multiply", "version": 7, "rows": [{"a": 1, "b": 2}]})

    assert "available: 1" in assert_problem(client, answer, 404, "model-not-found")["detail"]


def test_a_division_by_zero_names_its_row(client: Client) -> None:
    answer = client.post("/predict", json={"model": "divide", "rows": [{"a": 1, "b": 2}, {"a": 1, "b": 0}]})

    problem = assert_problem(client, answer, 422, "input-out-of-domain")
    assert problem["errors"] == [{"message": "division by zero has no answer", "row": 1, "column": "b"}]


def test_a_product_too_large_for_a_float_names_its_row(client: Client) -> None:
    answer = client.post("/predict", json={"model": "multiply", "rows": [{"a": 1, "b": 2}, {"a": 1e200, "b": 1e200}]})

    assert assert_problem(client, answer, 422, "non-finite-prediction")["errors"][0]["row"] == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": ""},
        {"Content-Type": "text/plain"},
        {"Content-Type": "text/json"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Type": "application/jsonp"},
        {"Content-Type": "application/json; charset=utf-16"},
        {"Content-Type": "text/plain; application/json"},
        {"Content-Type": "\xff" * 1000},
        {**JSON, "Content-Encoding": "br"},
    ],
    ids=str,
)
def test_a_wrong_content_type_is_refused(client: Client, headers: dict[str, str]) -> None:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    answer = client.post("/predict", content=product_of("3"), headers=raw)

    assert_problem(client, answer, 415, "unsupported-media-type")
    assert answer.headers["accept-post"] == "application/vnd.apache.arrow.stream, text/csv, application/json"


def test_a_body_over_the_limit_is_refused_however_it_is_sent(client: Client) -> None:
    body = product_of("3").ljust(LIMIT + 1)

    announced = client.post("/predict", content=body, headers=JSON)
    chunked = client.post("/predict", content=iter([body[:1000], body[1000:]]), headers=JSON)
    two = [("Content-Type", "application/json"), ("Content-Type", "text/csv")]
    as_two = client.post("/predict", content=body, headers=two)
    as_two_chunked = client.post("/predict", content=iter([body[:1000], body[1000:]]), headers=two)
    at_the_limit = client.post("/predict", content=body[:LIMIT], headers=JSON)

    for answer in (announced, chunked, as_two, as_two_chunked):
        assert f"{LIMIT} bytes" in assert_problem(client, answer, 413, "body-too-large")["detail"]
        assert answer.headers["connection"] == "close"
    assert at_the_limit.status_code == 200


def test_many_faults_are_counted_and_twenty_listed(client: Client) -> None:
    answer = client.post("/predict", json={"model": "multiply", "columns": ["a", "b"], "data": [["x", None]] * 5000})

    problem = assert_problem(client, answer, 422, "invalid-request")
    assert len(problem["errors"]) == 20
    assert problem["n_errors"] == 10_000


def test_a_million_unknown_columns_are_refused_in_linear_time(client: Client) -> None:
    """Counting repetitions column by column would take hours here."""
    columns = [f"{i:x}" for i in range(100_000)]
    answer = client.post("/predict", json={"model": "multiply", "columns": columns, "data": [[1]]})

    assert_problem(client, answer, 422, "input-shape-mismatch")


def test_nothing_long_is_echoed(client: Client) -> None:
    long = "sensitive" * 1000
    requests = [
        {"model": "graded", "rows": [{"mass": 1, "grade": long}]},
        {"model": "graded", "rows": [{"mass": long, "grade": "A"}]},
        {"model": "graded", "rows": [{"mass": 1, "grade": "A", long: 1}]},
        {"model": "graded", "rows": [{"mass": 1, "grade": "A"}], long: 1},
        {"model": long, "rows": []},
    ]
    for request in requests:
        answer = client.post("/predict", json=request)
        assert answer.status_code == 422
        assert answer.text.count("sensitive") < 50


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10)
requests = st.fixed_dictionaries(
    {},
    optional={
        "model": st.sampled_from(["multiply", "graded", "divide"]) | values,
        "version": st.just(1) | values,
        "rows": st.lists(st.dictionaries(st.sampled_from(["a", "b", "mass", "grade"]), scalars)) | values,
        "columns": st.lists(st.sampled_from(["a", "b", "mass", "grade"])) | values,
        "data": st.lists(st.lists(scalars)) | values,
    },
)


@given(request=requests | values)
@settings(max_examples=300, deadline=None)
def test_no_json_makes_the_service_fail(client: Client, request: object) -> None:
    assert_answered_or_refused(client, json.dumps(request).encode())


@given(body=st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_no_bytes_make_the_service_fail(client: Client, body: bytes) -> None:
    assert_answered_or_refused(client, body)  # the generator takes whole requests from the tests' own constants
