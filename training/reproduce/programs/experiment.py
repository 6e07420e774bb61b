"""The experiment: short programs learned, longer ones evaluated; its tables, claims and figure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from models.networks import SequenceNetwork
from training.reproduce.experiment import Progress, Result, told_by_checks
from training.reproduce.outcome import (
    Cell,
    Claim,
    Curve,
    Kind,
    Outcome,
    Panel,
    Row,
    Served,
    Size,
    Table,
    at_least,
    at_most,
    measured,
    seeds_curve,
)
from training.reproduce.programs.baselines import BASELINES, LSTM, N_CHECKS, SETUP, fit_baseline
from training.reproduce.programs.judging import DIGITS, LENGTHS, Judges, Score, judge, judges
from training.reproduce.programs.serving import MODEL, UnitPublication
from training.reproduce.programs.unit import FittedUnit, fit_unit
from training.tasks.programs import MAX_DIGITS, MAX_LENGTH, evaluate, split_programs, tokens

OURS = "recurrent arithmetic unit"

_N_STATES = 4
"""What programs need: the value so far, the factor and the number of the current term, and 1."""

_SHOWN = "12+3*45-6*7"
_FLOOR = 1e-4
"""Smallest error drawn."""


@dataclass(frozen=True)
class _Scale:
    """Size of a run."""

    n_steps: int
    n_programs: int


_SCALES: dict[Size, _Scale] = {"full": _Scale(1500, 100), "quick": _Scale(150, 40)}


@dataclass(frozen=True)
class _Method:
    """What one kind of network answers, by seed.

    Attributes:
        label: What it is called.
        kind: Whose recipe it is.
        by_length: Length of the programs → a score a seed.
        by_digits: Digits of their numbers → a score a seed.
    """

    label: str
    kind: Kind
    by_length: dict[int, list[Score]]
    by_digits: dict[int, list[Score]]


class Programs:
    """Programs evaluated character by character (after section 4.4 of arXiv:1808.00508)."""

    name = "programs"
    title = "programs read character by character"

    def default_seeds(self, size: Size) -> int:
        """Return 5 for the full size, else 1."""
        return 5 if size == "full" else 1

    def run(self, size: Size, seeds: int, progress: Progress) -> Result:
        """Find the unit's law and fit the baselines on each seed's split; judge by programs that choose nothing."""
        scale = _SCALES[size]
        progress.start(self.name, seeds * (2 + len(BASELINES)))
        splits, units, judging = [], [], []
        for seed in range(seeds):
            splits.append(split_programs(seed))
            judging.append(judges(splits[-1], scale.n_programs, seed))
            progress.advance(f"programs, seed {seed}")
            units.append(fit_unit(splits[-1], seed))
            progress.advance(f"{OURS}, seed {seed}")
        methods = []
        for label in BASELINES:
            networks = []
            for seed, split in enumerate(splits):
                tell = told_by_checks(progress, f"{label}, seed {seed}", scale.n_steps, scale.n_steps // N_CHECKS)
                networks.append(fit_baseline(label, split, scale.n_steps, tell, seed=seed))
            methods.append(_judged(label, "reproduction", networks, judging))
        ours = _judged(OURS, "ours", [unit.network for unit in units], judging)
        methods.append(ours)
        outcome = Outcome(
            name=self.name,
            title=self.title,
            about=(
                'Programs such as "3*4+2-7*15" are read character by character, and their value is answered after the '
                "last one; products come before sums.",
                f"Networks learn from programs of at most {MAX_LENGTH} characters with numbers of at most {MAX_DIGITS} "
                f"digits, and are asked for programs of up to {LENGTHS[-1]:,} characters, and for longer numbers.",
            ),
            size=size,
            seeds=seeds,
            setup=_setup(scale, [len(split.train) for split in splits]),
            tables=(
                _table(
                    "Programs answered right when rounded, in per cent, by their characters",
                    [f"{length:,}" for length in LENGTHS],
                    [(method, [_per_cent(method.by_length[length]) for length in LENGTHS]) for method in methods],
                ),
                _table(
                    "Median of |answer − value| / (1 + |value|), by their characters",
                    [f"{length:,}" for length in LENGTHS],
                    [(method, [_median(method.by_length[length]) for length in LENGTHS]) for method in methods],
                    _sizes_note(judging),
                ),
                _table(
                    "Programs of three numbers answered right when rounded, in per cent, by the digits of a number",
                    [str(n) for n in DIGITS],
                    [(method, [_per_cent(method.by_digits[n]) for n in DIGITS]) for method in methods],
                ),
                _automata_table(units),
            ),
            claims=_claims(size, seeds, methods[:-1], ours, units),
            panels=_panels(methods, units[0]),
            served=(Served(model=MODEL, request='{"model": "programs", "rows": [{"text": "3*4+2-7*15"}]}'),),
        )
        scores = {
            "inside": ours.by_length[MAX_LENGTH][0],
            "outside": ours.by_length[LENGTHS[-1]][0],
        }
        return Result(outcome, (UnitPublication(units[0], splits[0], 0, scores),))


PROGRAMS = Programs()


def _judged(label: str, kind: Kind, networks: Sequence[SequenceNetwork], judging: Sequence[Judges]) -> _Method:
    pairs = list(zip(networks, judging, strict=True))
    return _Method(
        label,
        kind,
        {length: [judge(network, one.by_length[length]) for network, one in pairs] for length in LENGTHS},
        {n: [judge(network, one.by_digits[n]) for network, one in pairs] for n in DIGITS},
    )


def _setup(scale: _Scale, n_train: Sequence[int]) -> tuple[str, ...]:
    return (
        "The paper's programs have additions, subtractions and conditions, each number is read as one scalar from 0 to "
        "99, and it shows figures without numbers. Ours are read digit by digit, and have products with precedence in "
        "place of conditions.",
        f"Training: all programs of up to four characters and of three one-digit numbers, and 20,000 draws of five to "
        f"{MAX_LENGTH}, less a tenth for validation: {min(n_train):,} to {max(n_train):,} programs by seed. Only whole "
        "programs have values; numbers have no leading zeros, operators come equally often.",
        f"Judged by {scale.n_programs} programs of each length and of each number of digits a seed, drawn in the same "
        f"way; only those with numbers of up to {MAX_DIGITS} digits each may stand in training too. A program with a "
        "number above 2⁵³ on the way is drawn again, so that float64 holds all there is to answer.",
        f"The {OURS} in float64: a block of the Hankel matrix of the training programs is factored at the least rank "
        "that gives it, least squares give what each character does, and of all bases the one with the fewest "
        "parameters that do something is taken and snapped (`training.fitting.hankel`, `automaton_law`); no "
        "character's meaning is told. It is kept where it gives every training and validation program exactly.",
        "No division: the values of 1/n, n read digit by digit, form Cauchy matrices of full rank at every size, so "
        "that no finite number of states gives them.",
        *SETUP,
        f"{scale.n_steps:,} steps each, three passes over the programs when full: more would make the baselines better "
        "inside the training range than they are here, where they solve short programs only.",
    )


def _table(title: str, columns: Sequence[str], rows: Sequence[tuple[_Method, Sequence[Cell]]], *notes: str) -> Table:
    return Table(
        title=title,
        columns=tuple(columns),
        rows=tuple(Row(kind=method.kind, label=method.label, cells=tuple(cells)) for method, cells in rows),
        notes=notes,
    )


def _sizes_note(judging: Sequence[Judges]) -> str:
    sizes = [
        float(np.median([abs(evaluate(program)[0]) for one in judging for program in one.by_length[length]]))
        for length in LENGTHS
    ]
    return f"Answering 0 has 1. The median |value| grows too: {', '.join(f'{size:.2g}' for size in sizes)}."


def _per_cent(scores: Sequence[Score]) -> Cell:
    return measured([100 * score.right for score in scores], better="higher")


def _median(scores: Sequence[Score]) -> Cell:
    return measured([score.median for score in scores])


def _automata_table(units: Sequence[FittedUnit]) -> Table:
    rows = []
    for seed, unit in enumerate(units):
        found = unit.found
        *smaller, fitted = found.residuals
        cells = (
            Cell(mean=float(found.automaton.n_states)),
            Cell(text=f"{found.block[0]} × {found.block[1]}, {found.fill:.0%} filled"),
            Cell(text=f"{smaller[-1]:.2g}" if smaller else "none"),
            Cell(text=f"{fitted:.2g}"),
            Cell(mean=float(found.n_open)),
            Cell(mean=float(unit.law.n_not_neutral())),
        )
        rows.append(Row(kind="ours", label=f"seed {seed}", cells=cells))
    return Table(
        title=f"The {OURS}: what was found",
        columns=(
            "states",
            "block",
            "error with a state less",
            "error",
            "directions left open",
            "parameters that do something",
        ),
        rows=tuple(rows),
        notes=(
            "Errors are relative, over the block's entries, before polishing and snapping.",
            "Directions left open: changes of the weights that change no training value and are no change of basis.",
        ),
    )


def _claims(
    size: Size, seeds: int, baselines: Sequence[_Method], ours: _Method, units: Sequence[FittedUnit]
) -> tuple[Claim, ...]:
    far = [length for length in LENGTHS if length >= 100]
    n_programs = _SCALES[size].n_programs
    lstm = next(method for method in baselines if method.label == LSTM)
    growth = [
        longest.median / max(shortest.median, _FLOOR)
        for shortest, longest in zip(lstm.by_length[MAX_LENGTH], lstm.by_length[LENGTHS[-1]], strict=True)
    ]
    return (
        at_most(
            f"{OURS}: largest error of {seeds * n_programs * len(LENGTHS):,} programs of {MAX_LENGTH} to "
            f"{LENGTHS[-1]:,} characters",
            0.0,
            max(score.worst for scores in ours.by_length.values() for score in scores),
        ),
        at_most(
            f"{OURS}: largest error of {seeds * n_programs * len(DIGITS):,} programs with numbers of up to "
            f"{DIGITS[-1]} digits",
            0.0,
            max(score.worst for scores in ours.by_digits.values() for score in scores),
        ),
        at_most(f"{OURS}: most states, of {seeds} seeds", _N_STATES, max(u.found.automaton.n_states for u in units)),
        at_most(f"{OURS}: most directions left open, of {seeds} seeds", 0.0, max(u.found.n_open for u in units)),
        at_most(
            f"baselines: most programs of {far[0]} characters and more right, any length and seed, in per cent",
            2.0,
            100 * max(score.right for method in baselines for length in far for score in method.by_length[length]),
        ),
        at_least(
            f"{LSTM}: median relative error at {LENGTHS[-1]:,} characters over that at {MAX_LENGTH}, least seed",
            1.5 if size == "full" else 1.0,
            min(growth),
            "" if size == "full" else "The quick size fits it for a few steps only, and asks that it does not shrink.",
        ),
        at_least(
            f"baselines: least median relative error at {far[0]} characters and more (answering 0 has 1)",
            0.5,
            min(score.median for method in baselines for length in far for score in method.by_length[length]),
        ),
    )


def _panels(methods: Sequence[_Method], unit: FittedUnit) -> tuple[Panel, ...]:
    def curves(of: Callable[[_Method, int], list[float]], x: Sequence[int]) -> tuple[Curve, ...]:
        return tuple(
            seeds_curve(method.label, x, np.transpose([of(method, one) for one in x]).tolist(), kind=method.kind)
            for method in methods
        )

    states = unit.law.states(tokens(_SHOWN))[1:]
    answers = unit.law.answers(states)
    steps = tuple(float(step) for step in range(len(_SHOWN)))
    return (
        Panel(
            title="median error against length",
            x_label="characters",
            y_label="|error| / (1 + |value|)",
            curves=curves(lambda method, n: [score.median for score in method.by_length[n]], LENGTHS),
            x_scale="log",
            y_scale="log",
            trained=(1.0, float(MAX_LENGTH)),
            y_floor=_FLOOR,
            y_ceiling=100.0,
        ),
        Panel(
            title="right answers against length",
            x_label="characters",
            y_label="right when rounded, in per cent",
            curves=curves(lambda method, n: [100 * score.right for score in method.by_length[n]], LENGTHS),
            x_scale="log",
            trained=(1.0, float(MAX_LENGTH)),
        ),
        Panel(
            title="right answers against digits",
            x_label="digits of each of three numbers",
            y_label="right when rounded, in per cent",
            curves=curves(lambda method, n: [100 * score.right for score in method.by_digits[n]], DIGITS),
            trained=(1.0, float(MAX_DIGITS)),
        ),
        Panel(
            title=f"the unit's registers, {_SHOWN}",
            x_label="character",
            y_label="register",
            curves=(
                *(
                    Curve(label=f"register {index + 1}", x=steps, y=tuple(column.tolist()), kind="ours")
                    for index, column in enumerate(states.T)
                ),
                Curve(label="answer", x=steps, y=tuple(answers.tolist()), kind="ours", style="points"),
            ),
            y_scale="symlog",
            y_floor=1.0,
            ticks=tuple(_SHOWN),
        ),
    )
