"""`nalu models activate | rollback | alias | remove`, as a user types them."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from models.contract.errors import ActivationError, InvalidNameError, ModelNotFoundError
from nalu_cli import app
from tests.published import publish_arithmetic


@pytest.fixture(name="root")
def _root(tmp_path: Path) -> Path:
    for _ in range(3):
        publish_arithmetic(tmp_path, "add")
    return tmp_path


def nalu(root: Path, *words: str) -> str:
    result = CliRunner().invoke(app, ["models", *words, "--repository", str(root)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def listed(root: Path) -> dict[str, object]:
    (model,) = json.loads(nalu(root, "list", "--json"))
    return {"active": model["active"], "aliases": model["aliases"], "versions": model["versions"]}


def test_a_day_of_versions(root: Path) -> None:
    assert nalu(root, "activate", "add", "1") == "add: version 1 answers\n"
    assert nalu(root, "alias", "add", "champion", "2") == "add: version 1 answers; champion is 2\n"
    assert nalu(root, "activate", "add", "champion") == "add: version 2 answers; champion is 2\n"
    assert nalu(root, "rollback", "add").startswith("add: version 1 answers")
    assert "1; champion: 2" in nalu(root, "list")
    assert nalu(root, "alias", "add", "champion", "--remove") == "add: version 1 answers\n"
    assert nalu(root, "remove", "add", "2") == "removed add version 2\n"
    assert nalu(root, "activate", "add", "latest") == "add: version 3 answers, and any newer one that is published\n"
    assert listed(root) == {"active": 3, "aliases": {}, "versions": [1, 3]}


def test_a_version_that_cannot_be_loaded_is_activated_only_unverified(root: Path) -> None:
    (root / "add" / "2" / "model.onnx").write_bytes(b"edited")
    with pytest.raises(ActivationError, match=r"however add/2 is not: .*checksum.*--unverified"):
        nalu(root, "activate", "add", "2")
    assert listed(root)["active"] == 3
    with pytest.raises(ActivationError, match="however add/2 is not"):
        nalu(root, "rollback", "add")
    nalu(root, "activate", "add", "2", "--unverified")
    assert listed(root)["active"] == 2
    nalu(root, "activate", "add", "3")
    nalu(root, "rollback", "add", "--unverified")
    assert listed(root)["active"] == 2


def test_a_broken_pointer_is_mended_by_an_activation(root: Path) -> None:
    nalu(root, "activate", "add", "1")
    (root / "add" / "active.json").write_text("{")
    for words in (("rollback", "add"), ("alias", "add", "champion", "2"), ("activate", "add", "champion")):
        with pytest.raises(ActivationError, match="activate a version by its number"):
            nalu(root, *words)
    assert nalu(root, "activate", "add", "2") == "add: version 2 answers\n"
    assert listed(root)["active"] == 2
    (root / "add" / "active.json").write_text("{")
    assert nalu(root, "activate", "add", "latest").startswith("add: version 3 answers, and any newer one")


@pytest.mark.parametrize("words", [("activate", "add", "9"), ("activate", "none", "1"), ("remove", "add", "champion")])
def test_what_is_not_there_is_told(root: Path, words: tuple[str, ...]) -> None:
    with pytest.raises(ModelNotFoundError):
        nalu(root, *words)


def test_wrong_use(root: Path) -> None:
    with pytest.raises(InvalidNameError, match="an alias must be"):
        nalu(root, "alias", "add", "Best!", "1")
    with pytest.raises(InvalidNameError, match="a model name must be"):
        nalu(root, "rollback", "../add")
    for words in (["champion"], ["champion", "1", "--remove"]):
        result = CliRunner().invoke(app, ["models", "alias", "add", *words, "--repository", str(root)])
        assert result.exit_code == 2


def test_predictions_of_files_come_from_the_active_version(root: Path, tmp_path: Path) -> None:
    nalu(root, "activate", "add", "1")
    table = tmp_path / "rows.csv"
    table.write_text("a,b\n3,5\n")
    result = CliRunner().invoke(app, ["predict", "add", str(table), "--repository", str(root)], catch_exceptions=False)

    assert "with add version 1" in result.output
