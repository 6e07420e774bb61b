"""The experiment on digits from end to end, much smaller than its quick size, and its models over HTTP."""

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from starlette.testclient import TestClient

from models.contract.manifest import ImagesColumn
from models.contract.repository import ModelRepository
from service.app import create_app
from service.settings import Settings
from training.digit_images import small_digits
from training.reproduce.digits import measuring
from training.reproduce.digits.experiment import result_of
from training.reproduce.digits.fitting import Passes, read
from training.reproduce.digits.measuring import BY_HAND, OURS, PLANS, Measured, digit_images
from training.reproduce.digits.publishing import model_name, output_names
from training.reproduce.experiment import Result
from training.reproduce.figures import figure_svg

TASKS = ("count", "sum", "product")


class Steps:
    """Counts what is told."""

    total = done = 0.0

    def start(self, title: str, n_steps: int) -> None:
        assert title == "digits"
        self.total = n_steps

    def advance(self, what: str, n_steps: float = 1) -> None:
        assert what.startswith("seed ")
        self.done += n_steps


@dataclass(frozen=True)
class Run:
    found: Measured
    result: Result
    steps: Steps
    repository: Path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    passes = Passes(values=2, levels=2, n_images=100, learning_rate=8e-3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PLANS, "quick", replace(PLANS["quick"], passes=passes, n_test_images=2_000))
        steps, root = Steps(), tmp_path_factory.mktemp("repository")
        found = measuring.measure("quick", 1, steps)
        for one in found.tasks:  # so few passes do not earn the snapping that the full size serves
            assert one.best is not None
            one.best = (replace(one.best[0], accepts_snapping=True), one.best[1])
        result = result_of(found)
        for publish in result.models:
            publish(ModelRepository(root))
        yield Run(found, result, steps, root)


def test_the_outcome_has_all_rows_and_its_figure(run: Run) -> None:
    outcome = run.result.outcome

    assert run.steps.done == run.steps.total
    assert [table.title.partition(":")[0] for table in outcome.tables] == [
        "Counts", "Sums", "Sums", "Products", "Products",
    ]  # fmt: skip
    for table in outcome.tables:
        labels = [row.label for row in table.rows]
        for label in (BY_HAND, *OURS):
            assert f"{label} (1 seed)" in labels
        assert any(row.kind == "published" for row in table.rows) == ("success rate" in table.title)
    assert len(outcome.panels) == 3
    assert b"<svg" in figure_svg(outcome)
    assert any("8 × 8" in one for one in outcome.setup)


def test_claims_say_what_was_measured(run: Run) -> None:
    count = run.found.tasks[0]
    bound = 2 * count.rows[BY_HAND][0][10].absolute
    ours = count.rows[OURS[-1]][0][10].absolute
    claim = next(one for one in run.result.outcome.claims if one.what.startswith("count at length 10:"))

    assert claim.bound == f"≤ {bound:.4g}"
    assert claim.measured == f"{ours:.3g}"
    assert claim.met == (ours <= bound)


def test_success_is_an_error_below_the_threshold(run: Run) -> None:
    product = run.found.tasks[2]
    squared = product.rows[OURS[-1]][0][2].squared

    assert product.succeeded(OURS[-1], 2) == [squared < product.thresholds[2]]
    assert product.succeeded(OURS[-1], 2, strictly=True) == [squared < 2 * product.rows[BY_HAND][0][2].squared]


def test_the_full_size_takes_the_small_digits_where_there_is_no_mnist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NALU_DATA_DIR", raising=False)

    assert digit_images("full").source == small_digits().source


@pytest.fixture(scope="module")
def client(run: Run) -> Iterator[TestClient]:
    with TestClient(create_app(Settings(model_repository=run.repository))) as opened:
        yield opened


def png(image: NDArray[np.uint8]) -> str:
    written = io.BytesIO()
    Image.fromarray(image).save(written, "PNG")
    return base64.b64encode(written.getvalue()).decode()


def ask(client: TestClient, name: str, images: list[Any]) -> dict[str, Any]:
    answer = client.post("/predict", json={"model": name, "rows": [{"images": images}]})
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


@pytest.mark.parametrize("length", [1, 10, 1000])
@pytest.mark.parametrize("position", range(3), ids=TASKS)
def test_every_answer_is_torch_s(run: Run, client: TestClient, position: int, length: int) -> None:
    one = run.found.tasks[position]
    assert one.best is not None
    network = one.best[0].chosen
    shown = small_digits().test_images
    if one.task.name == "product" and length > 100:
        # a product of a thousand digits is beyond float64 unless most of them are small
        values = read(network.encoder, torch.as_tensor(shown / 255, dtype=torch.float32))[:, 0]
        shown = shown[(values < 2).numpy()]
    images = np.resize(shown, (length, 8, 8))
    with torch.no_grad():
        expected = network(torch.as_tensor(images[None] / 255, dtype=torch.float32))[0].tolist()
    assert np.isfinite(expected).all()

    for given in ([png(image) for image in images], images.tolist()):
        answer = ask(client, model_name(one.task), given)
        assert answer["in_range"] == [False]
        assert list(answer["predictions"][0]) == list(output_names(one.task))
        assert list(answer["predictions"][0].values()) == pytest.approx(expected, rel=1e-6)


def test_a_sequence_as_long_as_those_of_training_is_in_range(client: TestClient) -> None:
    images = [png(image) for image in small_digits().test_images[:5]]

    assert ask(client, "digit-sum", images)["in_range"] == [True]
    (column,) = client.get("/models/digit-count").json()["inputs"]
    assert ImagesColumn.model_validate(column).height == 8


def test_the_request_shown_is_answered(run: Run, client: TestClient) -> None:
    for served in run.result.outcome.served:
        answer = client.post("/predict", content=served.request, headers={"Content-Type": "application/json"})
        assert answer.status_code == 200
