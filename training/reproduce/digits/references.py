"""What the rows are measured against: the labelled classifier, and the arithmetic solved by hand."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from models.networks.sequence import SequenceNetwork
from training.fitting.sequences import Batch, SequenceFitConfig, fit_sequences
from training.reproduce.digits.fitting import WARM_UP, Passes, read
from training.reproduce.digits.networks import LevelEncoder, accumulating, reader_for
from training.reproduce.digits.task import DigitTask, Shown, TaskImages


def fit_classifier(images: TaskImages, seed: int, passes: Passes) -> LevelEncoder:
    """Train a classifier of the same architecture on the label of every image, for as many passes.

    Args:
        images: Images of a task in which all digits appear.
        seed: Seed of weights and batches.
        passes: How long to train.
    """
    task, shown = images.train.task, images.train
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = LevelEncoder(reader_for(shown.images), task.values(), hard=True)
    network = _Logits(classifier)
    batches = _labelled(shown, passes.n_images, task.generator(seed, "labels"))

    def validate() -> float:
        logits = read(network, images.validation.images)
        return float(nn.functional.cross_entropy(logits, images.validation.classes))

    n_batches = -(-len(shown.images) // passes.n_images)
    config = SequenceFitConfig(passes.total * n_batches, passes.learning_rate, warm_up=WARM_UP, check_every=n_batches)
    fit_sequences(network, batches, validate, config, nn.functional.cross_entropy)
    return classifier.eval()


def by_hand(classifier: LevelEncoder, task: DigitTask) -> SequenceNetwork:
    """Return the classifier with the arithmetic of a task done by hand; digits that do not appear are ruled out."""
    digits = torch.tensor(task.digits)
    encoder = LevelEncoder(classifier.reader, task.values(), hard=True)
    with torch.no_grad():
        encoder.logits.weight.copy_(classifier.logits.weight[digits])
        encoder.logits.bias.copy_(classifier.logits.bias[digits])
    return accumulating(encoder.eval(), task.operation, task.d_outputs, torch.float64)


class _Logits(nn.Module):
    def __init__(self, classifier: LevelEncoder) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier.logits(self.classifier.reader(images))  # type: ignore[no-any-return]


def _labelled(shown: Shown, n_images: int, generator: torch.Generator) -> Iterator[Batch]:
    while True:
        for part in torch.split(torch.randperm(len(shown.images), generator=generator), n_images):
            yield Batch((shown.images[part],), shown.classes[part])
