"""The models of the experiment to serve: the unit's law to a million, and the LSTM with a NALU."""

from functools import partial

import numpy as np

from models.contract.formula import Formula
from models.contract.manifest import ModelManifest, OutputColumn, Provenance, TextColumn
from models.contract.repository import ModelRepository
from training.evaluation.metrics import Metrics, regression_metrics
from training.publish import library_versions
from training.publish_sequence import FittedSequence, publish_sequence
from training.reproduce.experiment import Publication
from training.reproduce.number_words.fits import Judged
from training.reproduce.number_words.laws import ChosenLaw, choose_law, law_network, law_text
from training.tasks.number_words import NumberSplit, in_words, split_to_a_million, tokens

UNIT_MODEL = "number-words"
LSTM_MODEL = "number-words-lstm"

_N_EXAMPLES = 40
"""Training numbers that torch and onnxruntime are compared on."""


def unit_model(chosen: ChosenLaw, split: NumberSplit, seed: int, metrics: Metrics) -> FittedSequence:
    """Return the unit with all that its manifest says.

    Args:
        chosen: The law of the split.
        split: Numbers to a million.
        seed: Seed of the split.
        metrics: Errors measured, by target.
    """
    note = (
        "The simplest law that gives all training numbers, found without a word's meaning being told. Training leaves "
        f"open, of the {chosen.law.n_not_neutral()} parameters that do something, "
        f"{'; '.join(chosen.open) or 'none'}; of all {chosen.n_parameters} parameters {chosen.n_open}, which "
        "report.json lists and simplicity decided: they do nothing. What a text that is no number gets follows from "
        "that alone."
    )
    return FittedSequence(
        name=UNIT_MODEL,
        description="Numbers in English words, from zero to nine hundred and ninety nine thousand nine hundred and "
        "ninety nine: a recurrent arithmetic unit.",
        network=law_network(chosen.law),
        input=_column(split),
        outputs=(_output(split),),
        examples=_examples(split),
        metrics={"validation": metrics},
        provenance=Provenance(
            task="number words to a million",
            n_rows=len(split.train),
            seed=seed,
            versions=library_versions(),
            note=note,
        ),
        formula=Formula(text=law_text(chosen.law, split.words)),
    )


def fit_unit_model(seed: int = 0) -> tuple[FittedSequence, dict[str, object]]:
    """Find the unit's law to a million and return it with its report, the same for the same seed.

    Raises:
        FitError: When no law gives the training numbers.
    """
    split = split_to_a_million(seed)
    chosen = choose_law(split)
    asked = tokens([in_words(number) for number in split.validation], split.words)
    metrics = regression_metrics(
        np.array(split.validation, dtype=np.float64)[:, None], chosen.law.evaluate(asked)[:, None], (_TARGET,)
    )
    report: dict[str, object] = {
        "task": "number words to a million",
        "law": law_text(chosen.law, split.words),
        "simplest_laws": chosen.n_simplest,
        "validated": list(chosen.validated),
        "open": list(chosen.open),
        "open_where_nothing_is_held": list(chosen.open_at_all),
        "train": list(split.train),
        "validation": list(split.validation),
    }
    return unit_model(chosen, split, seed, metrics), report


def publish_unit(repository: ModelRepository) -> ModelManifest:
    """Find and publish the unit, as the starter model is."""
    model, report = fit_unit_model()
    return publish_sequence(repository, model, report, {})


def lstm_publication(judged: Judged, split: NumberSplit, seed: int) -> Publication:
    """Return what publishes the LSTM with a NALU that validated best."""
    model = FittedSequence(
        name=LSTM_MODEL,
        description="Numbers below a thousand in English words: an LSTM with a NALU on its last step.",
        network=judged.network,
        input=_column(split),
        outputs=(_output(split),),
        examples=_examples(split),
        metrics={
            name: {_TARGET: {"mae": error}}
            for name, error in (("train", judged.train), ("validation", judged.validation), ("test", judged.test))
        },
        provenance=Provenance(
            task="number words below a thousand", n_rows=len(split.train), seed=seed, versions=library_versions()
        ),
    )
    return partial(_published, model=model)


def _published(repository: ModelRepository, model: FittedSequence) -> ModelManifest:
    return publish_sequence(repository, model, {"task": model.provenance.task}, {})


_TARGET = "number"


def _column(split: NumberSplit) -> TextColumn:
    lengths = [len(in_words(number)) for number in split.train]
    return TextColumn(name="text", minimum_length=min(lengths), maximum_length=max(lengths), vocabulary=split.words)


def _output(split: NumberSplit) -> OutputColumn:
    return OutputColumn(name=_TARGET, minimum=min(split.train), maximum=max(split.train))


def _examples(split: NumberSplit) -> list[str]:
    told = sorted(split.train, key=lambda number: -len(in_words(number)))
    return [" ".join(in_words(number)) for number in told[:: max(1, len(told) // _N_EXAMPLES)]]
