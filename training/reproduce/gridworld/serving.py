"""The agent to serve: the steps of an episode so far give the scores of its next action."""

import json
from datetime import UTC, datetime
from functools import partial
from typing import cast

import torch

from models.contract.formula import Formula
from models.contract.manifest import ModelManifest, NumberColumn, OutputColumn, Provenance, StepsColumn
from models.contract.repository import ModelRepository
from models.networks import AfterEveryStep, SequenceNetwork
from models.units import LinearUnit
from training.publish import library_versions
from training.publish_sequence import FittedSequence, publish_sequence
from training.reproduce.experiment import Publication
from training.reproduce.gridworld.fits import TRAINED, Lesson, Snapped
from training.reproduce.gridworld.measuring import Judged
from training.reproduce.gridworld.networks import nac_of
from training.tasks.gridworld import ACTIONS, SIDE

MODEL = "gridworld"

REQUEST = json.dumps(
    {"model": MODEL, "rows": [{"steps": [[60, 2, -1], [0, 2, -1]]}, {"steps": [[3, 2, -1]]}]},
)

_N_EXAMPLES = 12
"""Demonstrations that torch and onnxruntime are compared on."""


def publication(snapped: Snapped, learned: Lesson, judged: Judged) -> Publication:
    """Return what publishes an agent.

    Args:
        snapped: The agent.
        learned: What it learned from.
        judged: What all seeds' agents did.
    """
    return partial(_published, snapped=snapped, learned=learned, judged=judged)


def _published(repository: ModelRepository, snapped: Snapped, learned: Lesson, judged: Judged) -> ModelManifest:
    train = learned.train
    shown = torch.as_tensor(train.steps)
    with torch.no_grad():
        scores = AfterEveryStep(snapped.network)(shown)[torch.as_tensor(train.actions >= 0)]
    farthest = float(SIDE - 1)
    model = FittedSequence(
        name=MODEL,
        description="The next action, that with the highest score, of an agent that must step onto its goal exactly "
        "when the steps asked for are over: each step tells the time asked for (0 after the first step) and how far "
        "right and up the goal lies.",
        network=snapped.network,
        input=StepsColumn(
            name="steps",
            minimum_length=1,
            maximum_length=TRAINED[1],
            columns=(
                NumberColumn(name="asked", unit="steps", minimum=0.0, maximum=float(TRAINED[1])),
                NumberColumn(name="goal_right", unit="cells", minimum=-farthest, maximum=farthest),
                NumberColumn(name="goal_up", unit="cells", minimum=-farthest, maximum=farthest),
            ),
        ),
        outputs=tuple(
            OutputColumn(name=action, minimum=float(column.min()), maximum=float(column.max()))
            for action, column in zip(ACTIONS, scores.unbind(1), strict=True)
        ),
        examples=[train.steps[i, : train.times[i]] for i in range(_N_EXAMPLES)],
        metrics={
            region: {"arrival": {"share_in_time": min(share) / 100}}
            for region, share in (
                ("inside", judged.successes_between(*TRAINED)),
                ("outside", judged.successes_between(TRAINED[1] + 1, judged.times[-1])),
            )
        },
        formula=Formula(text=formula_text(snapped.network)),
        provenance=Provenance(
            task=f"reproduce {MODEL}",
            n_rows=len(train.times),
            seed=learned.seed,
            versions=library_versions(),
        ),
    )
    report: dict[str, object] = {
        "task": f"reproduce {MODEL}",
        "nac_weights": list(snapped.weights),
        "largest_move_in_snapping": snapped.largest_move,
        "wrong_rows_of_training": snapped.n_wrong,
        "different_rows_of_training": snapped.n_rows,
    }
    return publish_sequence(repository, model, report, {}, created=datetime.now(UTC))


def formula_text(network: SequenceNetwork) -> str:
    """Return the scores as text; c is what the NAC counted, where its weights are those of a counter."""
    asked, one, *_ = nac_of(network).effective_weight()[0].tolist()
    seen = ("c", "", "max(goal_right, 0)", "max(goal_up, 0)", "max(-goal_right, 0)", "max(-goal_up, 0)")
    weights = cast("LinearUnit", network.head).W.tolist()
    scores = [
        f"{action} = " + " + ".join(f"{weight:.6g}*{name}".strip("*") for weight, name in zip(row, seen, strict=True))
        for action, row in zip(ACTIONS, weights, strict=True)
    ]
    counted = f"c = sum over the steps of ({asked:g}*asked + {one:g})"
    return "; ".join((counted, *scores)).replace("+ -", "- ").replace("1*asked", "asked")
