"""The model of the experiment to serve: the unit."""

from dataclasses import dataclass

from models.contract.formula import Formula
from models.contract.manifest import ModelManifest, OutputColumn, Provenance, TextColumn
from models.contract.repository import ModelRepository
from training.publish import library_versions
from training.publish_sequence import FittedSequence, publish_sequence
from training.reproduce.number_words.laws import law_text
from training.reproduce.programs.judging import Score
from training.reproduce.programs.unit import FittedUnit
from training.tasks.programs import CHARACTERS, ProgramSplit, evaluate

MODEL = "programs"

_TASK = "reproduce programs"
_TARGET = "value"
_N_EXAMPLES = 40
"""Training programs that torch and onnxruntime are compared on."""

_NOTE = (
    "Found from training programs and their values alone; they leave no direction of the law open. A text that is no "
    'program, such as "3++4", gets what follows from the law. Exact while no number on the way is above 2^53.'
)


@dataclass(frozen=True)
class UnitPublication:
    """Publishes the unit of a split.

    Attributes:
        unit: The unit.
        split: Its programs.
        seed: Seed of the split.
        scores: Scores by what they are of.
    """

    unit: FittedUnit
    split: ProgramSplit
    seed: int
    scores: dict[str, Score]

    def __call__(self, repository: ModelRepository) -> ModelManifest:
        """Export it, check parity, and put it into a repository in one step."""
        train = self.split.train
        lengths, values = [len(program) for program in train], [evaluate(program)[0] for program in train]
        text = law_text(self.unit.law, CHARACTERS)
        model = FittedSequence(
            name=MODEL,
            description="Arithmetic programs, read character by character: a recurrent arithmetic unit.",
            network=self.unit.network,
            input=TextColumn(
                name="text",
                minimum_length=min(lengths),
                maximum_length=max(lengths),
                vocabulary=tuple(CHARACTERS),
                split="characters",
                lower_case=False,
                hyphens="kept",
            ),
            outputs=(OutputColumn(name=_TARGET, minimum=min(values), maximum=max(values)),),
            examples=[*train[: _N_EXAMPLES - 1], max(train, key=len)],
            metrics={
                name: {_TARGET: {"median_relative_error": score.median, "largest_error": score.worst}}
                for name, score in self.scores.items()
            },
            provenance=Provenance(
                task=_TASK, n_rows=len(train), seed=self.seed, versions=library_versions(), note=_NOTE
            ),
            formula=Formula(text=text),
        )
        found = self.unit.found
        report: dict[str, object] = {
            "task": _TASK,
            "law": text,
            "states": found.automaton.n_states,
            "open_directions": found.n_open,
            "residuals_by_states": list(found.residuals),
            "block": {"beginnings": found.block[0], "ends": found.block[1], "fill": found.fill},
        }
        return publish_sequence(repository, model, report, {})
