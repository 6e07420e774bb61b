"""The Open Inference Protocol over HTTP, in process, against Python's own arithmetic and the manifest."""

import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from models.contract.repository import ModelRepository
from service.app import create_app
from service.key_file import KeyRecord, add_record, hash_of, new_key
from service.settings import Settings
from tests.published import GRADES, publish_all
from tests.sequences import publish_sequences

_LENGTH = "Inference-Header-Content-Length"


@pytest.fixture(name="client", scope="module")
def _client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    root = publish_all(tmp_path_factory.mktemp("repository"))
    publish_sequences(root)
    with TestClient(create_app(Settings(model_repository=root, max_rows=50))) as client:
        yield client


def tensor(name: str, datatype: str, shape: list[int], data: list[Any]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


def infer(client: TestClient, model: str, *inputs: dict[str, Any], **more: Any) -> Any:
    answer = client.post(f"/v2/models/{model}/infer", json={"inputs": list(inputs), **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(client: TestClient, content: bytes, headers: dict[str, str] | None = None, model: str = "divide") -> str:
    answer = client.post(f"/v2/models/{model}/infer", content=content, headers=headers)
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/json"
    error: str = answer.json()["error"]
    return error


def test_the_server_tells_what_it_is(client: TestClient) -> None:
    for path in ("/v2", "/v2/"):
        told = client.get(path).json()
        assert told["name"] == "nalu-serving"
        assert told["version"]
        assert "binary_tensor_data" in told["extensions"]
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}


def test_without_a_version_the_active_one_answers_and_the_document_says_so(tmp_path: Path) -> None:
    """It said "newest version", which is another one once an older one was chosen."""
    root = publish_all(tmp_path / "models")
    repository = ModelRepository(root)
    published = repository.load("divide")
    repository.publish(published.manifest, published.onnx)
    repository.change_activation("divide", lambda now, there: now.activated("divide", 1, there))
    with TestClient(create_app(Settings(model_repository=root))) as client:
        paths = client.get("/openapi.json").json()["paths"]
        ones = [tensor(name, "FP64", [1, 1], [1.0]) for name in ("a", "b")]
        assert infer(client, "divide", *ones)["model_version"] == "1"
        assert client.get("/models/divide").json()["latest"] == 2
    told = {
        operation["summary"].rpartition(", ")[2]
        for path, operations in paths.items()
        for operation in operations.values()
        if path.startswith("/v2/models/{name}") and "{version}" not in path and not path.endswith("/stats")
    }
    assert told == {"active version"}


def test_a_model_tells_its_tensors(client: TestClient) -> None:
    assert (
        client.get("/v2/models/divide").json()
        == client.get("/v2/models/divide/versions/1").json()
        == {
            "name": "divide",
            "versions": ["1"],
            "platform": "onnxruntime_onnx",
            "inputs": [
                {"name": "numeric", "datatype": "FP64", "shape": [-1, 2], "parameters": {"columns": ["a", "b"]}}
            ],
            "outputs": [
                {"name": "predictions", "datatype": "FP64", "shape": [-1, 1], "parameters": {"columns": ["y"]}},
                {"name": "in_range", "datatype": "BOOL", "shape": [-1]},
            ],
        }
    )
    assert client.get("/v2/models/divide/ready").json() == {"name": "divide", "ready": True}
    assert client.get("/v2/models/divide/versions/1/ready").status_code == 200
    config = client.get("/v2/models/divide/config").json()
    assert config["max_batch_size"] == 50
    assert config["input"] == [{"name": "numeric", "data_type": "TYPE_FP64", "dims": [2]}]


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        ("number-words", [{"name": "text", "datatype": "BYTES", "shape": [-1, 1]}]),
        ("recurrent", [("steps", "FP64", [-1, -1, 2])]),
        ("graded", [("numeric", "FP64", [-1, 1]), ("categorical", "BYTES", [-1, 1])]),
    ],
)
def test_other_models_tell_theirs(client: TestClient, model: str, inputs: list[Any]) -> None:
    found = client.get(f"/v2/models/{model}").json()["inputs"]

    wanted = [tuple(one.values()) if isinstance(one, dict) else one for one in inputs]
    assert [(one["name"], one["datatype"], one["shape"]) for one in found] == wanted


@pytest.mark.parametrize("data", [[-7, 2, 20, 4], [[-7, 2], [20, 4]]])
@pytest.mark.parametrize("datatype", ["FP64", "FP32", "INT32", "INT8"])
def test_flat_and_nested_data_of_any_number_type_are_answered(client: TestClient, datatype: str, data: Any) -> None:
    answer = infer(client, "divide", tensor("numeric", datatype, [2, 2], data), id="seven")

    assert answer == {
        "model_name": "divide",
        "model_version": "1",
        "id": "seven",
        "outputs": [
            {"name": "predictions", "shape": [2, 1], "datatype": "FP64", "data": [-3.5, 5.0]},
            {"name": "in_range", "shape": [2], "datatype": "BOOL", "data": [True, False]},
        ],
    }


def test_columns_are_taken_one_by_one_and_outputs_by_their_name(client: TestClient) -> None:
    a, b = tensor("a", "FP64", [2], [-7, 9]), tensor("b", "FP64", [2, 1], [2, 3])

    answer = infer(client, "divide", b, a, outputs=[{"name": "y"}])

    assert answer["outputs"] == [{"name": "y", "shape": [2], "datatype": "FP64", "data": [-3.5, 3.0]}]
    assert "id" not in answer


def test_categories_and_missing_values_are_taken(client: TestClient) -> None:
    numbers = tensor("numeric", "FP64", [3, 1], [2, None, 3])
    grades = tensor("categorical", "BYTES", [3, 1], ["B", "C", ""])

    answer = infer(client, "graded", numbers, grades, outputs=[{"name": "predictions"}])

    assert answer["outputs"][0]["data"] == [2 * GRADES["B"], 0.0, 3 * 7.0]


def test_a_bare_nan_is_a_missing_value_as_clients_write_it(client: TestClient) -> None:
    head = b'{"inputs": [{"name": "mass", "datatype": "FP64", "shape": [2], "data": [2, NaN]}, '
    body = head + b'{"name": "grade", "datatype": "BYTES", "shape": [2], "data": ["B", "C"]}]}'

    answer = client.post("/v2/models/graded/infer", content=body)

    assert answer.json()["outputs"][0]["data"] == [2 * GRADES["B"], 0.0]
    assert "must be finite" in refused(client, body.replace(b"NaN", b"-Infinity"), model="graded")


def test_texts_and_steps_are_answered_as_predict_answers_them(client: TestClient) -> None:
    texts, steps = ["three hundred", "twelve"], [[[1.0, 2.0], [3.0, 4.0], [0.5, -1.0]]]
    by_text = client.post("/predict", json={"model": "number-words", "rows": [{"text": text} for text in texts]})
    by_steps = client.post("/predict", json={"model": "recurrent", "rows": [{"steps": steps[0]}]})
    wanted = [list(row.values()) for row in by_text.json()["predictions"]]

    for shape in ([2, 1], [2]):
        answer = infer(client, "number-words", tensor("text", "BYTES", shape, texts))
        assert np.reshape(answer["outputs"][0]["data"], answer["outputs"][0]["shape"]).tolist() == wanted
    flat = np.ravel(steps).tolist()
    answer = infer(client, "recurrent", tensor("steps", "FP64", [1, 3, 2], flat))
    assert answer["outputs"][0]["data"] == list(by_steps.json()["predictions"][0].values())


def binary(head: dict[str, Any], *blobs: bytes) -> tuple[bytes, dict[str, str]]:
    raw = json.dumps(head).encode()
    return b"".join((raw, *blobs)), {_LENGTH: str(len(raw))}


def test_binary_tensors_are_answered_in_binary(client: TestClient) -> None:
    numbers = np.array([2.0, np.nan])
    text = b"".join(struct.pack("<I", len(part)) + part for part in (b"B", b""))
    head = {
        "inputs": [
            {"name": "numeric", "datatype": "FP64", "shape": [2, 1], "parameters": {"binary_data_size": 16}},
            {
                "name": "categorical",
                "datatype": "BYTES",
                "shape": [2, 1],
                "parameters": {"binary_data_size": len(text)},
            },
        ],
        "outputs": [{"name": "predictions"}, {"name": "in_range", "parameters": {"binary_data": False}}],
        "parameters": {"binary_data_output": True},
    }
    body, headers = binary(head, numbers.tobytes(), text)

    answer = client.post("/v2/models/graded/versions/1/infer", content=body, headers=headers)

    length = int(answer.headers[_LENGTH])
    told = json.loads(answer.content[:length])
    assert answer.headers["content-type"] == "application/octet-stream"
    assert told["outputs"][0]["parameters"] == {"binary_data_size": 16}
    assert told["outputs"][1]["data"] == [True, True]
    assert np.frombuffer(answer.content[length:], "<f8").tolist() == [2 * GRADES["B"], 0.0]


_ONE = tensor("numeric", "FP64", [1, 2], [1, 2])


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ({}, "list of inputs"),
        ({"inputs": []}, "list of inputs"),
        ({"inputs": [7]}, "an input must be an object"),
        ({"inputs": [_ONE, _ONE]}, "given once"),
        ({"inputs": [{**_ONE, "datatype": "FP128"}]}, "must be one of BOOL"),
        ({"inputs": [{**_ONE, "datatype": ["FP64"]}]}, "must be one of BOOL"),
        ({"inputs": [{**_ONE, "shape": [1, -2]}]}, "none negative"),
        ({"inputs": [{**_ONE, "shape": [1, 2.0]}]}, "none negative"),
        ({"inputs": [{**_ONE, "shape": [2**40, 2**40]}]}, "none negative"),
        ({"inputs": [{**_ONE, "shape": [2**20, 2**20]}]}, "must hold the"),
        ({"inputs": [{**_ONE, "shape": [2, 2]}]}, "must hold the 4 elements"),
        ({"inputs": [{**_ONE, "shape": [1, 1]}]}, "must hold the 1 elements"),
        ({"inputs": [{**_ONE, "data": [[1], [2]]}]}, "axis 0 differs"),
        ({"inputs": [{**_ONE, "data": [[1, 2], [3, 4]]}]}, "axis 0 differs"),
        ({"inputs": [{**_ONE, "data": [1, "2"]}]}, "must be a number"),
        ({"inputs": [{**_ONE, "data": [1, True]}]}, "must be a number"),
        ({"inputs": [{**_ONE, "data": [1, 10**400]}]}, "too large"),
        ({"inputs": [{**_ONE, "datatype": "UINT8", "data": [1, 300]}]}, "fits it"),
        ({"inputs": [{**_ONE, "datatype": "INT8", "data": [1, 1.5]}]}, "fits it"),
        ({"inputs": [{**_ONE, "datatype": "BOOL", "data": [1, 0]}]}, "true or false"),
        ({"inputs": [{**_ONE, "datatype": "BOOL", "data": [True, False]}]}, "must be a number"),
        ({"inputs": [{**_ONE, "datatype": "BYTES", "data": ["1", "2"]}]}, "must hold numbers"),
        ({"inputs": [{**_ONE, "datatype": "BYTES", "data": ["1", 2]}]}, "must be text"),
        ({"inputs": [{"name": "numeric", "datatype": "FP64", "shape": [1, 2]}]}, "however neither"),
        ({"inputs": [{**_ONE, "name": ""}]}, "1 to 200 characters"),
        ({"inputs": [{**_ONE, "shape": [2, 1]}]}, "must have the shape"),
        ({"inputs": [_ONE, {**_ONE, "name": "other"}]}, "does not know this input"),
        ({"inputs": [tensor("a", "FP64", [1, 2], [1, 2]), tensor("b", "FP64", [1], [1])]}, "[n] or [n, 1]"),
        ({"inputs": [tensor("a", "FP64", [1], [1])]}, "is missing"),
        ({"inputs": [{**_ONE, "parameters": 7}]}, "parameters must be an object"),
        ({"inputs": [_ONE], "outputs": [{"name": "z"}]}, "no such output"),
        ({"inputs": [_ONE], "outputs": [{"name": "y"}, {"name": "y"}]}, "once"),
        ({"inputs": [_ONE], "outputs": "y"}, "outputs must be a list"),
        ({"inputs": [_ONE], "outputs": [{"name": "y", "parameters": {"classification": 2}}]}, "classification"),
        ({"inputs": [_ONE], "parameters": {"binary_data_output": 1}}, "true or false"),
        ({"inputs": [_ONE], "parameters": {"sequence_id": 4}}, "sequence_id"),
        ({"inputs": [_ONE], "id": 4}, "an id must be text"),
        ({"inputs": [_ONE], "id": "\ud800"}, "half of a surrogate pair"),
        ({"inputs": [tensor("numeric", "FP64", [51, 2], [1, 2] * 51)]}, "at most 50 rows"),
        ({"inputs": [tensor("numeric", "FP64", [0, 2], [])]}, "at least one row"),
        ({"inputs": [tensor("numeric", "FP64", [1, 2], [1, 0])]}, "no answer"),
    ],
)
def test_what_is_not_valid_is_refused_with_its_reason(client: TestClient, content: Any, rule: str) -> None:
    assert rule in refused(client, json.dumps(content).encode())


_BIN = {"name": "numeric", "datatype": "FP64", "shape": [1, 2], "parameters": {"binary_data_size": 16}}


@pytest.mark.parametrize(
    ("item", "blob", "rule"),
    [
        (_BIN, bytes(15), "of which 15 are left"),
        (_BIN, bytes(17), "1 bytes are left"),
        ({**_BIN, "shape": [2, 2]}, bytes(16), "must have 32 bytes"),
        ({**_BIN, "shape": [2**20, 2**20]}, bytes(16), "bytes for its shape"),
        ({**_BIN, "parameters": {"binary_data_size": -1}}, bytes(16), "of which 16"),
        ({**_BIN, "parameters": {"binary_data_size": True}}, bytes(16), "of which 16"),
        ({**_BIN, "data": [1, 2]}, bytes(16), "however it has both"),
        ({**_BIN, "datatype": "BYTES"}, b"\xff\xff\xff\xff" + bytes(12), "must not end beyond it"),
        ({**_BIN, "datatype": "BYTES"}, b"\x0c\0\0\0" + bytes(12), "must hold the 2 elements"),
        ({**_BIN, "datatype": "BYTES"}, bytes(16), "must hold the 2 elements"),
        ({**_BIN, "datatype": "BYTES"}, b"\x04\0\0\0\xff\xff\xff\xff" + b"\x04\0\0\0abcd", "must be UTF-8"),
        ({**_BIN, "datatype": "BYTES"}, bytes(4) + b"\x09" + bytes(11), "must not end beyond it"),
    ],
)
def test_binary_data_that_is_not_of_its_shape_is_refused(client: TestClient, item: Any, blob: bytes, rule: str) -> None:
    body, headers = binary({"inputs": [item]}, blob)

    assert rule in refused(client, body, headers)


@pytest.mark.parametrize("told", ["-1", "9999", "1e3", "", "\u00b2", "99999999999999999999"])
def test_a_length_of_the_json_outside_the_body_is_refused(client: TestClient, told: str) -> None:
    assert _LENGTH in refused(client, json.dumps({"inputs": [_ONE]}).encode(), {_LENGTH: told.encode("latin-1")})  # type: ignore[dict-item]


@pytest.mark.parametrize("shape", [[0, *[2**31 - 1] * 3], [1, 0, *[2**31 - 1] * 3], [2**31 - 1] * 8])
@pytest.mark.parametrize("datatype", ["FP64", "UINT8", "BYTES"])
def test_a_shape_that_no_array_can_have_is_refused(client: TestClient, datatype: str, shape: list[int]) -> None:
    flat, nested = tensor("numeric", datatype, shape, []), tensor("numeric", datatype, shape, [[]])
    for item in (flat, nested):
        assert "must multiply to at most" in refused(client, json.dumps({"inputs": [item]}).encode())
    head = {"name": "numeric", "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": 0}}
    assert "must multiply to at most" in refused(client, *binary({"inputs": [head]}))


@pytest.mark.parametrize("datatype", ["INT8", "INT64", "UINT8", "UINT64"])
@pytest.mark.parametrize("number", [b"1e400", b"-1e400"])
def test_a_number_beyond_float64_is_no_whole_number(client: TestClient, datatype: str, number: bytes) -> None:
    body = json.dumps({"inputs": [{**_ONE, "datatype": datatype, "data": [7, 2]}]}).encode()

    assert "fits it" in refused(client, body.replace(b"7", number))


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[" * 50_000, b'{"inputs": NaN}', b"\xff", b'{"inputs": [], "inputs": []}']
)
def test_what_is_no_json_is_refused(client: TestClient, content: bytes) -> None:
    assert refused(client, content)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/models/unknown", 404),
        ("GET", "/v2/models/unknown/ready", 404),
        ("GET", "/v2/models/divide/versions/9", 404),
        ("GET", "/v2/models/divide/versions/one", 404),
        ("POST", "/v2/models/unknown/infer", 404),
        ("GET", "/v2/trace/setting", 404),
        ("GET", "/v2/systemsharedmemory/status", 404),
        ("GET", "/v2/models/divide/infer", 405),
        ("GET", f"/v2/models/{'x' * 101}", 400),
    ],
)
def test_errors_have_the_protocol_s_shape(client: TestClient, method: str, path: str, status: int) -> None:
    answer = client.request(method, path)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["error"]


@pytest.mark.parametrize(("encoding", "wbits"), [("gzip", 31), ("deflate", 15)])
def test_compressed_bodies_are_read_and_bombs_are_not(client: TestClient, encoding: str, wbits: int) -> None:
    def packed(body: bytes) -> bytes:
        packer = zlib.compressobj(wbits=wbits)
        return packer.compress(body) + packer.flush()

    head = json.dumps({"inputs": [_BIN]}).encode()
    headers = {"Content-Encoding": encoding, _LENGTH: str(len(head))}
    body = packed(head + np.array([9.0, 2.0]).tobytes())

    answer = client.post("/v2/models/divide/infer", content=body, headers=headers)
    bomb = client.post("/v2/models/divide/infer", content=packed(b" " * 17 * 1024**2), headers=headers)

    assert answer.json()["outputs"][0]["data"] == [4.5]
    assert bomb.status_code == 413
    assert "must not exceed" in bomb.json()["error"]
    assert refused(client, body[: len(body) // 2], headers)
    assert "gzip, deflate or zstd" in refused(client, body, {"Content-Encoding": "br"})


def test_the_repository_is_listed(client: TestClient) -> None:
    listed = client.post("/v2/repository/index").json()

    assert {"name": "divide", "version": "1", "state": "READY", "reason": ""} in listed


@pytest.mark.parametrize("what", ["load", "unload"])
def test_nobody_changes_the_models_of_a_service_without_keys(client: TestClient, what: str) -> None:
    answer = client.post(f"/v2/repository/models/divide/{what}")

    assert answer.status_code == 403
    assert "nalu keys new" in answer.json()["error"]


def test_a_model_is_unloaded_and_loaded_as_it_was_published(tmp_path: Path) -> None:
    publish_all(tmp_path / "models")
    key, file = new_key(), tmp_path / "keys.jsonl"
    add_record(file, KeyRecord(name="operator", role="admin", sha256=hash_of(key.encode()).hex()))
    application = create_app(Settings(model_repository=tmp_path / "models", keys_file=file))
    with TestClient(application, headers={"X-API-Key": key}) as admin:

        def asked(what: str, content: bytes = b"", model: str = "divide") -> tuple[int, str]:
            answer = admin.post(f"/v2/repository/models/{model}/{what}", content=content)
            return answer.status_code, answer.json().get("error", "")

        assert asked("unload", b'{"parameters": {"unload_dependents": false}}') == (200, "")
        assert admin.get("/v2/models/divide/ready").status_code == 503
        for parameters in (b'{"config": "{}"}', b'{"file:1/model.onnx": "AAAA"}'):
            status, error = asked("load", b'{"parameters": ' + parameters + b"}")
            assert status == 400
            assert "as it was published" in error
        assert asked("unload", b'{"parameters": {"force": true}}')[0] == 400
        for content in (b"[]", b"{", b'{"parameters": 7}'):
            assert asked("load", content)[0] == 400
        assert asked("load", b"{}") == (200, "")
        assert admin.get("/v2/models/divide/ready").status_code == 200
        assert asked("load", model="unknown")[0] == 404
