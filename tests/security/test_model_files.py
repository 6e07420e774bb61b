"""Model files that must be refused, stop no other model, and leave the process healthy."""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from starlette.testclient import TestClient

from models.contract.manifest import NUMERIC_TENSOR, PREDICTIONS_TENSOR
from models.contract.repository import MANIFEST_FILE, MODEL_FILE, ModelRepository, PublishedModel
from service.app import create_app
from service.errors import UnsafeModelError
from service.inference import graph_scan
from service.inference.encoding import encode_split
from service.inference.graph_scan import scan_graph
from service.inference.predictor import predict
from service.inference.runtime import RUN_MEMORY_BYTES
from service.inference.session import load_session
from service.settings import Settings
from tests.published import arithmetic_graph, arithmetic_manifest, graded_graph, model_bytes, publish_arithmetic

AXIS = {"axis": np.array([1], dtype=np.int64)}
SUM = helper.make_node("ReduceSum", [NUMERIC_TENSOR, "axis"], [PREDICTIONS_TENSOR])
GOOD = model_bytes([SUM], AXIS, d_numeric=2)


def changed(change: Callable[[onnx.ModelProto], None]) -> bytes:
    """Return the good file after a change."""
    model = onnx.load_from_string(GOOD)
    change(model)
    return bytes(model.SerializeToString())


def external(tensor: onnx.TensorProto, location: str) -> onnx.TensorProto:
    """Make a tensor's data lie in another file."""
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


def constant(tensor: onnx.TensorProto) -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["unused"], value=tensor)


def small_tensor() -> onnx.TensorProto:
    return numpy_helper.from_array(np.zeros(3), "small")


def sparse(values: onnx.TensorProto) -> onnx.SparseTensorProto:
    return helper.make_sparse_tensor(values, numpy_helper.from_array(np.arange(3), "indices"), [10])


def loop() -> onnx.NodeProto:
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["again"])],
        "endless",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("again", TensorProto.BOOL, [])],
    )
    return helper.make_node("Loop", ["", "yes"], [], body=body)


def branch() -> onnx.NodeProto:
    side = helper.make_graph([], "side", [], [])
    return helper.make_node("If", ["yes"], [], then_branch=side, else_branch=side)


def scan(*inside: onnx.NodeProto) -> onnx.NodeProto:
    """Return a sum over the columns, one after the other, with more nodes in its body."""
    body = helper.make_graph(
        [helper.make_node("Add", ["state", "step"], ["next"]), *inside],
        "step",
        [
            helper.make_tensor_value_info("state", TensorProto.DOUBLE, ["batch"]),
            helper.make_tensor_value_info("step", TensorProto.DOUBLE, ["batch"]),
        ],
        [helper.make_tensor_value_info("next", TensorProto.DOUBLE, ["batch"])],
    )
    return helper.make_node(
        "Scan", ["first", NUMERIC_TENSOR], ["last"], body=body, num_scan_inputs=1, scan_input_axes=[1]
    )


def add_function(model: onnx.ModelProto) -> None:
    node = helper.make_node("Identity", ["x"], ["y"])
    model.functions.append(helper.make_function("", "F", ["x"], ["y"], [node], [helper.make_opsetid("", 20)]))


REFUSED_BEFORE_THE_RUNTIME: dict[str, tuple[Callable[[onnx.ModelProto], object], str]] = {
    "external data beside": (lambda m: external(m.graph.initializer[0], "weights.bin"), "external data"),
    "external data above": (lambda m: external(m.graph.initializer[0], "../../../etc/passwd"), "external data"),
    "external data absolute": (lambda m: external(m.graph.initializer[0], "/proc/self/environ"), "external data"),
    "external data without the flag": (
        lambda m: m.graph.initializer[0].external_data.add(key="location", value="x"),
        "external data",
    ),
    "the flag without external data": (
        lambda m: setattr(m.graph.initializer[0], "data_location", TensorProto.EXTERNAL),
        "external data",
    ),
    "external data in a constant": (lambda m: m.graph.node.append(constant(external(small_tensor(), "x"))), "external"),
    "external data in a list of tensors": (
        lambda m: m.graph.node[0].attribute.append(helper.make_attribute("t", [external(small_tensor(), "x")])),
        "external data",
    ),
    "external data in a sparse initializer": (
        lambda m: m.graph.sparse_initializer.append(sparse(external(small_tensor(), "x"))),
        "external data",
    ),
    "external data in a sparse constant": (
        lambda m: m.graph.node.append(
            helper.make_node("Constant", [], ["u"], sparse_value=sparse(external(small_tensor(), "x")))
        ),
        "external data",
    ),
    "custom operator": (lambda m: setattr(m.graph.node[0], "domain", "com.evil"), "domain 'com.evil'"),
    "contributed operator": (lambda m: setattr(m.graph.node[0], "domain", "com.microsoft"), "com.microsoft"),
    "custom operator set": (lambda m: m.opset_import.append(helper.make_opsetid("com.evil", 1)), "com.evil"),
    "endless loop": (lambda m: m.graph.node.append(loop()), "Loop"),
    "branch": (lambda m: m.graph.node.append(branch()), "nest"),
    "loop in a model of rows": (lambda m: m.graph.node.append(scan()), "nest"),
    "function": (add_function, "functions"),
    "training information": (lambda m: m.training_info.add(), "training information"),
    "random numbers": (
        lambda m: m.graph.node.append(helper.make_node("RandomNormal", [], ["r"], shape=[2])),
        "random numbers",
    ),
    "no graph": (lambda m: m.ClearField("graph"), "holds 0"),
}

REFUSED_INSIDE_A_LOOP: dict[str, tuple[onnx.NodeProto, str]] = {
    "endless loop": (loop(), "nest"),
    "branch": (branch(), "nest"),
    "a loop in the loop": (scan(), "nest"),
    "custom operator": (helper.make_node("Conjure", ["step"], ["x"], domain="com.evil"), "com.evil"),
    "random numbers": (helper.make_node("RandomNormal", [], ["x"], shape=[2]), "random numbers"),
    "external data": (constant(external(small_tensor(), "x")), "external data"),
}

REFUSED_BY_THE_RUNTIME: dict[str, Callable[[onnx.ModelProto], object]] = {
    "absurd operator set": lambda m: setattr(m.opset_import[0], "version", 99),
    "absurd format": lambda m: setattr(m, "ir_version", 99),
    "unknown operator": lambda m: setattr(m.graph.node[0], "op_type", "Conjure"),
    "missing initializer": lambda m: m.graph.ClearField("initializer"),
    "size that lies": lambda m: m.graph.initializer[0].dims.append(1 << 40),
    "negative size": lambda m: m.graph.initializer[0].dims.append(-1),
}


def bomb(nodes: Sequence[onnx.NodeProto], **constants: np.ndarray) -> bytes:
    """Return a graph that adds up a huge tensor."""
    ends = [
        helper.make_node("ReduceSum", ["huge"], ["total"], keepdims=0),
        helper.make_node("ReduceSum", [NUMERIC_TENSOR, "axis"], ["sum"]),
        helper.make_node("Add", ["sum", "total"], [PREDICTIONS_TENSOR]),
    ]
    return model_bytes([*nodes, *ends], {**AXIS, **constants}, d_numeric=2)


def memory_bombs() -> dict[str, bytes]:
    zero = numpy_helper.from_array(np.array([0.0]))
    n = 4 * RUN_MEMORY_BYTES // 8
    return {
        "ConstantOfShape": bomb([helper.make_node("ConstantOfShape", ["n"], ["huge"], value=zero)], n=np.array([n])),
        "Expand": bomb([helper.make_node("Expand", ["x", "n"], ["huge"])], x=np.array([0.0]), n=np.array([n])),
        "Range": bomb(
            [helper.make_node("Range", ["a", "b", "c"], ["huge"])],
            a=np.array(0.0),
            b=np.array(float(n)),
            c=np.array(1.0),
        ),
        "outer product": bomb(
            [helper.make_node("Mul", ["row", "column"], ["huge"])],
            row=np.zeros((1, 50_000)),
            column=np.zeros((50_000, 1)),
        ),
    }


def assert_refused_alone(root: Path, name: str, told: str) -> None:
    """Check that the service refuses one model with a reason and answers with another."""
    with TestClient(create_app(Settings(model_repository=root))) as client:
        ready = client.get("/health/ready")
        refused = client.post("/predict", json={"model": name, "rows": [{"a": 3, "b": 5}]})
        good = client.post("/predict", json={"model": "multiply", "rows": [{"a": 3, "b": 5}]})

    assert ready.status_code == 503
    (reason,) = ready.json()["reasons"]
    assert reason.startswith(f"{name}/1: ")
    assert told in reason
    assert len(reason) < 1000
    assert (refused.status_code, refused.json()["type"]) == (503, "model-not-ready")
    assert good.json()["predictions"] == [{"y": 15.0}]


def publish(root: Path, graph: bytes) -> Path:
    """Publish a hostile graph as `add`, its manifest vouching for it, beside a good model; return its folder."""
    publish_arithmetic(root, "multiply")
    repository = ModelRepository(root)
    repository.publish(arithmetic_manifest("add", graph), graph)
    return repository.path("add")


@pytest.mark.parametrize("case", REFUSED_BEFORE_THE_RUNTIME)
def test_what_no_model_needs_is_refused_before_the_runtime_sees_it(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change, told = REFUSED_BEFORE_THE_RUNTIME[case]
    graph = changed(lambda model: (change(model), None)[1])
    (tmp_path / "weights.bin").write_bytes(b"\0" * 100)
    monkeypatch.chdir(tmp_path)

    with pytest.raises(UnsafeModelError, match=told):
        scan_graph(graph)
    publish(tmp_path, graph)
    assert_refused_alone(tmp_path, "add", told)


@pytest.mark.parametrize("case", REFUSED_INSIDE_A_LOOP)
def test_the_body_of_a_loop_is_held_to_the_same_rules(case: str) -> None:
    inside, told = REFUSED_INSIDE_A_LOOP[case]
    scan_graph(changed(lambda model: model.graph.node.append(scan())), loops=True)
    with pytest.raises(UnsafeModelError, match=told):
        scan_graph(changed(lambda model: model.graph.node.append(scan(inside))), loops=True)


@pytest.mark.parametrize("node", [loop(), branch()], ids=lambda node: str(node.op_type))
def test_a_model_of_sequences_has_no_other_loop(node: onnx.NodeProto) -> None:
    with pytest.raises(UnsafeModelError, match="nest"):
        scan_graph(changed(lambda model: model.graph.node.append(node)), loops=True)


def test_a_loop_that_is_renamed_behind_its_body_is_refused() -> None:
    """A reader of the wire format takes the last of several names, so the scan does too."""
    node = scan().SerializeToString()
    renamed = node + b"\x22\x04Loop"  # op_type once more
    assert onnx.NodeProto.FromString(renamed).op_type == "Loop"
    model = changed(lambda model: model.graph.node.append(onnx.NodeProto.FromString(node)))
    old, new = (b"\x0a" + bytes(varint(len(one))) + one for one in (node, renamed))
    assert old in model
    graph = onnx.load_from_string(model).graph.SerializeToString()
    longer = graph.replace(old, new)
    head, _, tail = model.partition(graph)
    prefix = b"\x3a" + bytes(varint(len(graph)))
    assert head.endswith(prefix)
    with pytest.raises(UnsafeModelError, match="nest"):
        scan_graph(head.removesuffix(prefix) + b"\x3a" + bytes(varint(len(longer))) + longer + tail, loops=True)


def varint(number: int) -> list[int]:
    return [number] if number < 128 else [number & 127 | 128, *varint(number >> 7)]


@pytest.mark.parametrize("case", REFUSED_BY_THE_RUNTIME)
def test_what_the_runtime_refuses_is_told(case: str, tmp_path: Path) -> None:
    publish(tmp_path, changed(lambda model: (REFUSED_BY_THE_RUNTIME[case](model), None)[1]))

    assert_refused_alone(tmp_path, "add", "the runtime must load the graph, however")


@pytest.mark.parametrize("case", ["ConstantOfShape", "Expand", "Range", "outer product"])
def test_a_graph_that_asks_for_more_memory_than_a_run_may_take_fails_its_warm_up(case: str, tmp_path: Path) -> None:
    publish(tmp_path, memory_bombs()[case])

    assert_refused_alone(tmp_path, "add", "must answer its own sample, however")


@pytest.mark.parametrize("kept", [0, 1, 2, 10, len(GOOD) // 2, len(GOOD) - 1])
def test_a_truncated_file_is_refused(kept: int, tmp_path: Path) -> None:
    """Truncated after publication, the checksum tells; truncated before it, the scan or the runtime does."""
    with pytest.raises(UnsafeModelError):
        scan_graph(GOOD[:kept])
    folder = publish(tmp_path, GOOD)
    (folder / MODEL_FILE).write_bytes(GOOD[:kept])

    assert_refused_alone(tmp_path, "add", "checksum")


def test_an_edited_file_is_refused(tmp_path: Path) -> None:
    folder = publish(tmp_path, GOOD)
    (folder / MODEL_FILE).write_bytes(GOOD.replace(b"ReduceSum", b"ReduceMax"))

    assert_refused_alone(tmp_path, "add", "checksum")


def test_a_swapped_file_is_refused(tmp_path: Path) -> None:
    folder = publish(tmp_path, GOOD)
    (folder / MODEL_FILE).write_bytes((tmp_path / "multiply" / "1" / MODEL_FILE).read_bytes())

    assert_refused_alone(tmp_path, "add", "checksum")


def test_a_swapped_manifest_is_refused(tmp_path: Path) -> None:
    folder = publish(tmp_path, GOOD)
    (folder / MANIFEST_FILE).write_bytes((tmp_path / "multiply" / "1" / MANIFEST_FILE).read_bytes())

    assert_refused_alone(tmp_path, "add", "must name the model it lies with")


def test_file_and_manifest_of_another_model_under_its_name_are_refused_by_the_sample(tmp_path: Path) -> None:
    folder = publish(tmp_path, GOOD)
    product = arithmetic_graph("multiply")
    manifest = json.loads((folder / MANIFEST_FILE).read_bytes())
    manifest["graph"]["sha256"] = hashlib.sha256(product).hexdigest()
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))
    (folder / MODEL_FILE).write_bytes(product)

    assert_refused_alone(tmp_path, "add", "within the tolerance of its manifest")


@pytest.mark.parametrize(
    ("manifest", "told"),
    [
        (b"", "must be JSON"),
        (b"{}", "format_version"),
        (b'{"format_version": 5}', "newer release"),
        (b'{"format_version": 1, "name": "add"}', "must follow format version 1"),
        (b"[" * 100_000, "must be JSON"),
        (b"\xff\xfe", "must be JSON"),
    ],
)
def test_an_unreadable_or_newer_manifest_is_refused(manifest: bytes, told: str, tmp_path: Path) -> None:
    folder = publish(tmp_path, GOOD)
    (folder / MANIFEST_FILE).write_bytes(manifest)

    assert_refused_alone(tmp_path, "add", told)


@pytest.mark.parametrize("kind", ["missing", "symbolic link", "folder", "pipe"])
def test_what_is_no_regular_file_is_refused(kind: str, tmp_path: Path) -> None:
    folder = publish(tmp_path, GOOD)
    file = folder / MODEL_FILE
    file.rename(tmp_path / "elsewhere.onnx")
    if kind == "symbolic link":
        file.symlink_to(tmp_path / "elsewhere.onnx")
    elif kind == "folder":
        file.mkdir()
    elif kind == "pipe":
        os.mkfifo(file)

    assert_refused_alone(tmp_path, "add", MODEL_FILE)


@pytest.mark.parametrize("graph", [GOOD, graded_graph(), arithmetic_graph("divide", "float32")])
def test_a_good_file_passes(graph: bytes) -> None:
    scan_graph(graph)


@pytest.mark.parametrize(
    "file",
    [
        b"not a model",
        b"\x38" * 1000,
        b"\xff" * 1000,
        b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x3b" + GOOD,
        b"\x00" + GOOD,
        GOOD + GOOD,
        b"PK\x03\x04" + b"\0" * 100,
    ],
    ids=lambda file: ascii(file[:10]),
)
def test_what_is_no_onnx_message_never_answers(file: bytes, tmp_path: Path) -> None:
    publish(tmp_path, file)

    assert_refused_alone(tmp_path, "add", "a model file must")


def test_a_file_that_begins_like_the_runtime_s_own_format_is_read_as_the_one_that_was_scanned() -> None:
    file = b"\x0a\x06xxORTM" + GOOD
    assert file[4:8] == b"ORTM"
    session = load_session(PublishedModel(arithmetic_manifest("add", file), file), "cpu")

    assert predict(session, encode_split(session.manifest, ["a", "b"], [[3, 5]])).values.tolist() == [[8.0]]


def test_a_file_of_countless_fields_or_nodes_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_scan, "MAX_FIELDS", 50)
    with pytest.raises(UnsafeModelError, match="at most 50 fields"):
        scan_graph(changed(lambda model: model.graph.initializer[0].dims.extend([1] * 100)) + b"\x08\x01" * 100)
    monkeypatch.setattr(graph_scan, "MAX_FIELDS", 1000)
    monkeypatch.setattr(graph_scan, "MAX_NODES", 3)
    with pytest.raises(UnsafeModelError, match="at most 3 nodes"):
        scan_graph(changed(lambda model: model.graph.node.extend([SUM] * 4)))


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """The runtime loads such a file, and fails when it is asked for the names of its axes."""
    publish(tmp_path, GOOD.replace(b"batch", b"bat\xbch"))

    assert_refused_alone(tmp_path, "add", "the runtime must load the graph")


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_no_mutation_makes_the_scan_fail_otherwise(data: st.DataObject) -> None:
    file = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 5))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    start = data.draw(st.integers(0, len(file)))
    del file[start : start + data.draw(st.integers(0, 20))]

    with suppress(UnsafeModelError):
        scan_graph(bytes(file))
