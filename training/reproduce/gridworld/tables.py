"""What was measured, as tables, claims and panels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from models.networks import SequenceNetwork
from training.reproduce.gridworld.fits import TRAINED, Snapped
from training.reproduce.gridworld.measuring import FARTHEST, VERY_FAR, Guarantee, Judged
from training.reproduce.gridworld.networks import nac_of
from training.reproduce.outcome import (
    Cell,
    Claim,
    Curve,
    Panel,
    Row,
    Size,
    Table,
    at_least,
    measured,
    published,
    seeds_curve,
)

BY_GRADIENTS = "NAC, by gradients alone"
OURS = "NAC, snapped"

_BANDS = ((TRAINED[0], TRAINED[1]), (13, 19), (20, 30), (31, FARTHEST))

_MASTERED = 95.0
"""Share of successes in % at which a time counts as mastered."""

_INSIDE_BOUND: dict[Size, float] = {"quick": 90.0, "full": 99.0}
"""What the gated agents must reach at the times of training, so that what they do beyond can be held against them."""

_LEAD = 90.0
"""Points that ours must be ahead of every gated agent at the farthest time."""

_PUBLISHED = {"A3C with LSTM": "13", "A3C with LSTM and NAC": "19"}
"""Largest time done well, as the paper's text is remembered."""


@dataclass(frozen=True)
class Counters:
    """Our agents before and after snapping.

    Attributes:
        trained: As gradients left them, one a seed.
        snapped: Snapped.
        guarantees: What is proved of those.
    """

    trained: Sequence[SequenceNetwork]
    snapped: Sequence[Snapped]
    guarantees: Sequence[Guarantee]


def all_tables(judged: Sequence[Judged], counters: Counters) -> tuple[Table, ...]:
    """Return the tables."""
    return (_success_table(judged), _errors_table(judged), _counter_table(counters))


def _success_table(judged: Sequence[Judged]) -> Table:
    rows = [
        Row(kind="published", label=label, cells=(*[Cell(text="figure only")] * (len(_BANDS) + 2), published(reach)))
        for label, reach in _PUBLISHED.items()
    ]
    for one in judged:
        shares = [one.successes_between(*band) for band in _BANDS]
        shares += [one.successes(FARTHEST), one.successes(VERY_FAR)]
        cells = [measured(values, better="higher") for values in shares]
        reach = measured(one.reach(_MASTERED), better="higher")
        rows.append(Row(kind=one.kind, label=one.label, cells=(*cells, reach)))
    return Table(
        title="Episodes that arrive exactly in time, in %, by the time asked for",
        columns=(
            *(f"{least} to {most}" for least, most in _BANDS),
            str(FARTHEST),
            f"{VERY_FAR:,}",
            f"every time tested ≥ {_MASTERED:g} % up to",
        ),
        rows=tuple(rows),
        notes=(
            "Published: arXiv:1808.00508 shows rewards as a figure; the times up to which its agents do well are "
            "recalled from its text, could not be checked against it here, and bound nothing.",
        ),
        decimals=1,
    )


def _errors_table(judged: Sequence[Judged]) -> Table:
    return Table(
        title=f"What happens at {FARTHEST}",
        columns=("too early in %", "in time in %", "too late or never in %", "mean arrival"),
        rows=tuple(
            Row(
                kind=one.kind,
                label=one.label,
                cells=(
                    measured(one.early(FARTHEST)),
                    measured(one.successes(FARTHEST), better="higher"),
                    measured(one.late(FARTHEST)),
                    _without_worst(one.mean_arrivals(FARTHEST)),
                ),
            )
            for one in judged
        ),
        notes=("Not published.",),
        decimals=1,
    )


def _counter_table(counters: Counters) -> Table:
    wrong = [float(one.n_wrong) for one in counters.snapped]
    return Table(
        title="What the NAC counts: its weights, the sign of its output turned so that the first is positive",
        columns=("time asked for", "a one in every step", "largest of four distances", "last output", "wrong rows"),
        rows=(
            Row(
                kind="ours",
                label=BY_GRADIENTS,
                cells=(*_weight_cells(counters.trained), Cell(text="")),
            ),
            Row(
                kind="ours",
                label=OURS,
                cells=(*_weight_cells([one.network for one in counters.snapped]), measured(wrong)),
            ),
        ),
        notes=(
            "An exact counter has 1, −1, 0 and 1. Wrong rows are those of the demonstrations learned from in which the "
            "snapped agent would not do as the demonstrator, of "
            f"{min(one.n_rows for one in counters.snapped)} different ones or more.",
        ),
    )


def _weight_cells(networks: Sequence[SequenceNetwork]) -> list[Cell]:
    columns = []
    for network in networks:
        asked, one, *distances, last = nac_of(network).effective_weight().detach().double()[0].tolist()
        sign = 1.0 if asked >= 0 else -1.0
        columns.append((sign * asked, sign * one, max(map(abs, distances)), last))
    return [_without_worst(values) for values in zip(*columns, strict=True)]


def _without_worst(values: Sequence[float]) -> Cell:
    """Return a cell of numbers none of which is better than another."""
    return measured(values).model_copy(update={"worst": None})


def all_claims(size: Size, judged: Sequence[Judged], counters: Counters) -> tuple[Claim, ...]:
    """Return what was to be reached."""
    ours = next(one for one in judged if one.label == OURS)
    gated = [one for one in judged if one.kind == "reproduction"]
    beyond = [min(ours.successes(time)) for time in ours.times if time > TRAINED[1]]
    seeds = len(ours.arrived)
    best = max(float(np.mean(one.successes(FARTHEST))) for one in gated)
    held = sum(one.holds for one in counters.guarantees)
    return (
        at_least(
            f"{OURS}: success in % at {FARTHEST}, five times the times of training, worst of {seeds} seeds",
            100,
            min(ours.successes(FARTHEST)),
        ),
        at_least(
            f"{OURS}: success in %, worst of all seeds and times tested from 13 to {VERY_FAR:,}", 100, min(beyond)
        ),
        at_least(f"{OURS}: seeds of {seeds} for which success at every time whatsoever is proved", seeds, held),
        at_least(
            f"gated agents: success in % at the times of training, mean of {seeds} seeds, worst kind of agent",
            _INSIDE_BOUND[size],
            min(float(np.mean(one.successes_between(*TRAINED))) for one in gated),
            "The quick size trains them briefly; the full size is held to 99 %." if size == "quick" else "",
        ),
        at_least(
            f"{OURS}: points ahead of the best gated agent at {FARTHEST}, means of {seeds} seeds",
            _LEAD,
            float(np.mean(ours.successes(FARTHEST))) - best,
        ),
    )


def all_panels(judged: Sequence[Judged], counters: Counters) -> tuple[Panel, ...]:
    """Return the figure."""
    times = [time for time in judged[0].times if time <= FARTHEST]
    trained = (float(TRAINED[0]), float(TRAINED[1]))
    on_time = Curve(
        label="in time", x=tuple(map(float, times)), y=tuple(map(float, times)), style="points", kind="published"
    )
    return (
        Panel(
            title="arriving exactly in time",
            x_label="time asked for",
            y_label="success in %",
            curves=tuple(
                seeds_curve(
                    one.label, times, np.transpose([one.successes(time) for time in times]).tolist(), kind=one.kind
                )
                for one in judged
            ),
            trained=trained,
        ),
        Panel(
            title="when agents arrive",
            x_label="time asked for",
            y_label="mean time of arrival",
            curves=(
                *(
                    seeds_curve(
                        one.label,
                        times,
                        np.transpose([one.mean_arrivals(time) for time in times]).tolist(),
                        kind=one.kind,
                    )
                    for one in judged
                ),
                on_time,
            ),
            trained=trained,
        ),
        _counter_panel(counters),
    )


def _counter_panel(counters: Counters) -> Panel:
    """Return what the NACs hold while an agent four steps from its goal stays, with the farthest time asked for."""
    elapsed = range(1, FARTHEST + 1)

    def held(networks: Sequence[SequenceNetwork]) -> list[list[float]]:
        return [_held(network) for network in networks]

    return Panel(
        title=f"what the NAC counts when {FARTHEST} is asked for",
        x_label="steps stayed",
        y_label="its output",
        curves=(
            seeds_curve(BY_GRADIENTS, elapsed, held(counters.trained), kind="ours"),
            seeds_curve(OURS, elapsed, held([one.network for one in counters.snapped]), kind="ours"),
        ),
        trained=(1.0, float(TRAINED[1])),
    )


@torch.no_grad()
def _held(network: SequenceNetwork) -> list[float]:
    steps = torch.zeros(1, FARTHEST, 3, dtype=torch.float64)
    steps[0, 0, 0] = FARTHEST
    steps[0, :, 1:] = 2
    sign = 1.0 if float(nac_of(network).effective_weight()[0, 0]) >= 0 else -1.0
    counted: list[float] = (sign * network.states(steps)[0, :, 0].double()).tolist()
    return counted
