"""`nalu models list|show|verify`: what is there, what it says, and whether it can be served."""

import json
from pathlib import Path

import pytest

from models.contract.errors import ModelNotFoundError, RepositoryError
from models.contract.repository import ModelRepository
from nalu_cli import main
from service.inventory import list_models, verify_models
from tests.published import arithmetic_graph, arithmetic_manifest, certificate, publish_all, publish_arithmetic


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = publish_all(tmp_path / "repository")
    publish_arithmetic(root, "divide", "float32")
    return root


@pytest.fixture
def nalu(monkeypatch: pytest.MonkeyPatch, repository: Path, capsys: pytest.CaptureFixture[str]) -> "Run":
    monkeypatch.setenv("NALU_MODEL_REPOSITORY", str(repository))
    monkeypatch.setenv("COLUMNS", "200")
    return Run(monkeypatch, capsys)


class Run:
    """Runs the command line in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch = monkeypatch
        self.capsys = capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        self.monkeypatch.setattr("sys.argv", ["nalu", "models", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        captured = self.capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return caught.value.code, captured.out, captured.err


def test_list_names_every_model(nalu: Run) -> None:
    code, out, _ = nalu("list")

    assert code == 0
    rows = {cells[1]: cells[2:-1] for line in out.splitlines() if len(cells := line.replace(" ", "").split("│")) > 1}
    assert list(rows) == ["add", "divide", "graded", "multiply", "subtract"]
    assert rows["divide"] == ["1,2", "arithmetic", "a,b", "y", "float32"]
    assert rows["graded"] == ["1", "tabular", "mass,grade", "strength", "float64"]


def test_list_as_json(nalu: Run) -> None:
    code, out, _ = nalu("list", "--json")

    assert code == 0
    listed = {model["name"]: model for model in json.loads(out)}
    assert listed["divide"] == {
        "name": "divide",
        "versions": [1, 2],
        "active": 2,
        "aliases": {},
        "kind": "arithmetic",
        "inputs": ["a", "b"],
        "outputs": ["y"],
        "dtype": "float32",
        "fault": None,
    }


def test_list_of_nothing(nalu: Run, tmp_path: Path) -> None:
    code, out, _ = nalu("list", "--repository", str(tmp_path / "none"))

    assert (code, out.split()[:4]) == (0, ["no", "model", "is", "published"])
    assert nalu("list", "--json", "--repository", str(tmp_path / "none"))[1] == "[]\n"


def test_a_broken_manifest_is_listed_as_a_fault(nalu: Run, repository: Path) -> None:
    (repository / "add" / "1" / "manifest.json").write_text("{")

    code, out, _ = nalu("list")

    assert code == 0
    assert "fault: a manifest must be JSON" in out
    faulty = next(model for model in list_models(ModelRepository(repository)) if model.name == "add")
    assert faulty.kind is None
    assert faulty.fault is not None


def test_show_tells_the_signature(nalu: Run) -> None:
    code, out, _ = nalu("show", "divide", "--version", "1")

    assert code == 0
    for fact in (
        "divide version 1",
        "float64",
        "-10 to 10",
        "division by zero has no answer",
        "y = divide(a, b)",
        "rmse",
    ):
        assert fact in out


def test_show_tells_what_a_certificate_proves(nalu: Run, repository: Path) -> None:
    graph = arithmetic_graph("multiply")
    manifest = arithmetic_manifest("multiply", graph).model_copy(update={"certificate": certificate()})
    ModelRepository(repository).publish(manifest, graph)

    code, out, _ = nalu("show", "multiply")

    assert code == 0
    for fact in (
        "weights lay within 0.001 of simple values",
        "100 rows, noise 0.01, 0.00% of them not explained",
        "a: all numbers",
        "needs        a - b != 0",
        "0, and 1e-153 to 1e+153",
        "exactness in float64",
        "10 times",
        "1e-16",
        "four roundings",
    ):
        assert fact in out


def test_show_as_json_is_the_manifest(nalu: Run, repository: Path) -> None:
    code, out, _ = nalu("show", "graded", "--json")

    assert code == 0
    assert json.loads(out) == json.loads((repository / "graded" / "1" / "manifest.json").read_bytes())


def test_names_that_look_like_markup_are_shown_as_they_are(nalu: Run, repository: Path) -> None:
    manifest = repository / "graded" / "1" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"name": "mass"', '"name": "[red]mass[/]"'))

    assert "[red]mass[/]" in nalu("show", "graded")[1]
    assert "[red]mass[/]" in nalu("list")[1]
    folder = repository.rename(repository.with_name("[red]"))
    assert "[red]" in nalu("list", "--repository", str(folder))[1]  # wherever its line is broken


def test_an_unknown_model_or_version_is_an_error(nalu: Run) -> None:
    assert nalu("show", "nope")[::2] == (
        1,
        "error: model 'nope' is not published here; available: add, divide, graded, multiply, subtract\n",
    )
    assert nalu("show", "divide", "--version", "7")[0] == 1
    assert nalu("verify", "nope")[0] == 1
    assert nalu("show", "..")[2].startswith("error: a model name must be")


def test_verify_finds_all_good(nalu: Run) -> None:
    code, out, _ = nalu("verify")

    assert code == 0
    assert out.splitlines()[:3] == ["add version 1: good", "divide version 1: good", "divide version 2: good"]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        pytest.param("truncated", "must have the checksum in its manifest", id="truncated"),
        pytest.param("swapped", "must have the checksum in its manifest", id="swapped"),
        pytest.param("missing", "must be a readable regular file", id="missing"),
        pytest.param("sample", "must answer its sample within the tolerance", id="another answer"),
        pytest.param("newer", "reads manifests up to format version", id="newer format"),
    ],
)
def test_verify_finds_every_fault_and_checks_on(nalu: Run, repository: Path, fault: str, message: str) -> None:
    folder = repository / "add" / "1"
    onnx, manifest = folder / "model.onnx", folder / "manifest.json"
    if fault == "truncated":
        onnx.write_bytes(onnx.read_bytes()[:-1])
    elif fault == "swapped":
        onnx.write_bytes((repository / "multiply" / "1" / "model.onnx").read_bytes())
    elif fault == "missing":
        onnx.unlink()
    elif fault == "sample":
        manifest.write_text(manifest.read_text().replace("8.0", "8.1"))
    else:
        manifest.write_text(manifest.read_text().replace('"format_version": 1', '"format_version": 5'))

    code, out, _ = nalu("verify")

    assert code == 1
    first, *others = out.splitlines()
    assert first.startswith("add version 1: ")
    assert message in first
    assert len(others) == 5
    assert all(line.endswith(": good") for line in others)
    assert nalu("verify", "multiply")[0] == 0
    results = json.loads(nalu("verify", "--json")[1])
    assert [result["fault"] is None for result in results] == [False, True, True, True, True, True]


def test_verify_of_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="holds none; publish one"):
        list(verify_models(ModelRepository(tmp_path)))
    with pytest.raises(ModelNotFoundError):
        list(verify_models(ModelRepository(tmp_path), "add"))
