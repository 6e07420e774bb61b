"""The experiment: fits on several splits, its tables, claims and figure, and the models to serve."""

from dataclasses import dataclass

import numpy as np
import torch

from models.networks import SequenceNetwork
from training.reproduce.experiment import Progress, Result
from training.reproduce.number_words import serving
from training.reproduce.number_words.fits import Effort, Judged, fit_as_published, fit_ours
from training.reproduce.number_words.laws import ChosenLaw, absolute_errors, choose_law, law_network
from training.reproduce.number_words.networks import HEADS, LABELS, Head
from training.reproduce.outcome import (
    NOT_PUBLISHED,
    Cell,
    Claim,
    Curve,
    Outcome,
    Panel,
    Row,
    Served,
    Size,
    Table,
    at_most,
    measured,
    published,
)
from training.tasks.number_words import (
    LARGEST,
    NumberSplit,
    in_words,
    split_below_a_thousand,
    split_to_a_million,
    tokens,
)

N_LAW_SPLITS = 10
"""Splits that the unit's law is found on: what was to be shown, at a twentieth of a second each."""

_EFFORTS: dict[Size, Effort] = {"quick": Effort(100, 60, 2), "full": Effort(2000, 400, 18)}

_N_CHECKED: dict[Size, int] = {"quick": 20_000, "full": LARGEST + 1}

_PUBLISHED = {"linear": (0.003, 29.9, 29.4), "NAC": (80.0, 114.1, 114.3), "NALU": (0.12, 0.39, 0.41)}
"""Training, validation and test error of arXiv:1808.00508, table 3."""

_BOUND = 0.41

_SHOWN = 345_612

_HEARD = "the nine round hundreds trained on"


@dataclass(frozen=True)
class _LawFits:
    """What the unit gives on every split below a thousand, and beyond."""

    chosen: list[ChosenLaw]
    train_errors: list[float]
    validation_errors: list[float]
    test_errors: list[float]
    worst_errors: list[float]
    large: list[ChosenLaw]
    large_errors: list[float]


@dataclass(frozen=True)
class _Told:
    """Tells the progress of the restarts of one fit."""

    progress: Progress
    head: Head
    seed: int

    def __call__(self, restart: int, loss: float) -> None:
        self.progress.advance(f"{LABELS[self.head]}, seed {self.seed}, start {restart + 1}: validation {loss:.3g}")


class NumberWords:
    """Numbers in English words (section 4.3 of arXiv:1808.00508)."""

    name = "number-words"
    title = "Numbers in words"

    def default_seeds(self, size: Size) -> int:
        """Return 5 for the published size, else 1."""
        return 5 if size == "full" else 1

    def run(self, size: Size, seeds: int, progress: Progress) -> Result:
        """Fit the LSTMs on `seeds` splits and the unit on at least ten; judge each on its test numbers once."""
        effort = _EFFORTS[size]
        n_law_splits = max(N_LAW_SPLITS, seeds)
        progress.start(
            self.title, n_law_splits + seeds + seeds * (len(HEADS) * (1 + effort.restarts) + effort.restarts)
        )
        laws = _fit_laws(n_law_splits, seeds, _N_CHECKED[size], progress)
        as_published: dict[Head, list[Judged]] = {head: [] for head in HEADS}
        ours: dict[Head, list[Judged]] = {head: [] for head in HEADS}
        heard: list[Judged] = []
        for seed in range(seeds):
            split = split_below_a_thousand(seed)
            for head in HEADS:
                as_published[head].append(fit_as_published(head, split, seed, effort))
                progress.advance(f"{LABELS[head]}, the paper's recipe, seed {seed}")
                ours[head].append(fit_ours(head, split, seed, effort, _Told(progress, head, seed)))
            with_hundreds = split_below_a_thousand(seed, round_hundreds=True)
            heard.append(fit_ours("NALU", with_hundreds, seed, effort, _Told(progress, "NALU", seed)))
        outcome = Outcome(
            name=self.name,
            title=self.title,
            about=(
                'The words of a number are read one by one, "three hundred and twelve", and the number is answered.',
                "Of the numbers 0 to 999 a network sees 169, is chosen by 200, and is judged by 631 once.",
            ),
            size=size,
            seeds=seeds,
            setup=_setup(size, effort, n_law_splits),
            tables=(
                _errors_table(as_published, ours, heard, laws),
                _bare_table(ours),
                _open_table(laws),
            ),
            claims=_claims(size, ours, heard, laws, n_law_splits),
            panels=(_words_panel(ours, laws), _registers_panel(laws), _bars_panel(as_published, ours, laws)),
            served=(
                Served(
                    model=serving.UNIT_MODEL,
                    request='{"model": "number-words", "rows": [{"text": "three hundred and twelve"}]}',
                ),
                Served(
                    model=serving.LSTM_MODEL,
                    request='{"model": "number-words-lstm", "rows": [{"text": "three hundred and twelve"}]}',
                ),
            ),
        )
        best = min(ours["NALU"], key=lambda judged: judged.validation)
        seed = ours["NALU"].index(best)
        return Result(
            outcome,
            (
                serving.publish_unit,
                serving.lstm_publication(best, split_below_a_thousand(seed), seed),
            ),
        )


def _fit_laws(n_splits: int, n_large: int, n_checked: int, progress: Progress) -> _LawFits:
    fits = _LawFits([], [], [], [], [], [], [])
    for seed in range(n_splits):
        split = split_below_a_thousand(seed)
        chosen = choose_law(split)
        network = law_network(chosen.law)
        errors = absolute_errors(network, split.test, split.words)
        fits.chosen.append(chosen)
        fits.train_errors.append(float(absolute_errors(network, split.train, split.words).mean()))
        fits.validation_errors.append(float(absolute_errors(network, split.validation, split.words).mean()))
        fits.test_errors.append(float(errors.mean()))
        fits.worst_errors.append(float(errors.max()))
        progress.advance(f"the unit, split {seed}")
    for seed in range(n_large):
        split = split_to_a_million(seed)
        chosen = choose_law(split)
        network = law_network(chosen.law)
        numbers = _to_check(n_checked, seed)
        fits.large.append(chosen)
        fits.large_errors.append(float(absolute_errors(network, numbers, split.words).max()))
        progress.advance(f"the unit to a million, split {seed}")
    return fits


def _to_check(n: int, seed: int) -> list[int]:
    if n > LARGEST:
        return list(range(LARGEST + 1))
    drawn: list[int] = np.random.default_rng((seed, 1)).choice(LARGEST + 1, n, replace=False).tolist()
    return drawn


def _setup(size: Size, effort: Effort, n_law_splits: int) -> tuple[str, ...]:
    said = [
        'The numbers are 0 … 999 with "and" (30 words); training holds 0 … 19 and every word, as the loader of '
        "arXiv:2001.05016 has it.",
        "The paper's recipe as its authors told Madsen and Johansen: embeddings of 256, an LSTM of 10, the head on the "
        f"last step; what is not told is ours: Adam at 0.01 for {effort.first_order_steps} steps on all training "
        "numbers, squared error, the step chosen by validation.",
        "A NAC on ten outputs of an LSTM, each within ±1, cannot answer above 10, so that the published 80.0 must come "
        "from a wider LSTM than that.",
        "Our LSTMs: embeddings of 4 or 6, an LSTM of 4 to 8, the same head; NAC and NALU answer in units of 30,000; "
        "the NALU has separate weights, a gate of its own and ε = 1; Levenberg–Marquardt with a ridge that is lowered, "
        f"{effort.restarts} restarts of {effort.second_order_steps} steps, step and restart chosen by validation.",
        "One row has the nine round hundreds among the 169 training numbers, the rest drawn as before: what a random "
        "split leaves open is told there.",
        "The unit's law is searched for as `training.fitting.word_laws` says, without a word's meaning being told; "
        f"{n_law_splits} splits.",
        'For the numbers to 999,999 ("thousand" is a 31st word) the unit is also trained on 231 random numbers from '
        "1,000 to 999,999, 400 in all, and chosen by 200 more.",
    ]
    if size == "quick":
        said.append("The quick size fits the LSTMs for a few steps only.")
    return tuple(said)


def _errors_table(
    as_published: dict[Head, list[Judged]], ours: dict[Head, list[Judged]], heard: list[Judged], laws: _LawFits
) -> Table:
    def cells(fits: list[Judged]) -> tuple[Cell, ...]:
        return (
            measured([fit.train for fit in fits]),
            measured([fit.validation for fit in fits]),
            measured([fit.test for fit in fits]),
        )

    rows = [
        Row(kind="published", label=LABELS[head], cells=tuple(published(value) for value in _PUBLISHED[head]))
        for head in HEADS
    ]
    rows.append(
        Row(
            kind="published",
            label="another implementation, chosen on the test set, without an LSTM",
            cells=(NOT_PUBLISHED, NOT_PUBLISHED, published(0.72)),
        )
    )
    rows += [Row(kind="reproduction", label=LABELS[head], cells=cells(as_published[head])) for head in HEADS]
    rows += [Row(kind="ours", label=f"{LABELS[head]}, second order", cells=cells(ours[head])) for head in HEADS]
    rows.append(Row(kind="ours", label=f"{LABELS['NALU']}, second order, {_HEARD}", cells=cells(heard)))
    rows.append(
        Row(
            kind="ours",
            label=f"recurrent arithmetic unit, {len(laws.test_errors)} splits",
            cells=(measured(laws.train_errors), measured(laws.validation_errors), measured(laws.test_errors)),
        )
    )
    return Table(
        title="Mean absolute error",
        columns=("training", "validation", "test"),
        rows=tuple(rows),
        notes=("Published: arXiv:1808.00508, table 3; nkarasovd/Neural_Arithmetic_Logic_Units.",),
    )


def _bare(split: NumberSplit) -> tuple[list[int], list[int]]:
    bare = [number for number in split.test if number and number % 100 == 0]
    others = [number for number in split.test if not number or number % 100]
    return bare, others


def _bare_table(ours: dict[Head, list[Judged]]) -> Table:
    rows = []
    for head in HEADS:
        errors: tuple[list[float], list[float]] = ([], [])
        for seed, judged in enumerate(ours[head]):
            split = split_below_a_thousand(seed)
            for numbers, kept in zip(_bare(split), errors, strict=True):
                kept.append(float(absolute_errors(judged.network, numbers, split.words).mean()))
        rows.append(Row(kind="ours", label=LABELS[head], cells=tuple(measured(kept) for kept in errors)))
    n_heard = [
        sum(1 for number in split_below_a_thousand(seed).train if number and number % 100 == 0)
        for seed in range(len(ours["NALU"]))
    ]
    return Table(
        title='Where the LSTMs\' test error lies: numbers that end in "hundred", and all others',
        columns=('"… hundred"', "all others"),
        rows=tuple(rows),
        notes=(f'Numbers that end in "hundred" in training, by seed: {", ".join(map(str, n_heard))} of 9.',),
    )


def _open_table(laws: _LawFits) -> Table:
    rows = []
    for seed, chosen in enumerate(laws.chosen):
        if chosen.n_simplest == 1:
            decided = "training"
        else:
            decided = "validation" if chosen.decided_by_validation else "nothing: the first is taken"
        cells = (Cell(mean=float(chosen.n_simplest)), Cell(text=decided), Cell(text="; ".join(chosen.open)))
        rows.append(Row(kind="ours", label=f"split {seed}", cells=cells))
    for seed, chosen in enumerate(laws.large):
        cells = (
            Cell(mean=float(chosen.n_simplest)),
            Cell(text="training" if chosen.n_simplest == 1 else "validation"),
            Cell(
                text=f"{'; '.join(chosen.open) or 'nothing'} of the {chosen.law.n_not_neutral()} parameters that do "
                f"something; {chosen.n_open} of all {chosen.n_parameters}"
            ),
        )
        rows.append(Row(kind="ours", label=f"split {seed}, to a million", cells=cells))
    return Table(
        title="The unit: equally simple laws of the training numbers, what decides, and what training leaves open",
        columns=("simplest laws", "decided by", "open"),
        rows=tuple(rows),
        notes=(
            'Open parameters can change without a change in any training number: "×zero" is what "zero" multiplies by, '
            '"+and" what "and" adds, "×hundred with ×and" change only together. Simplicity sets them to what does '
            "nothing.",
            "With two registers most words are never heard where what they do to the first one would show: only the "
            "parameters that do something are named.",
        ),
    )


def _claims(
    size: Size, ours: dict[Head, list[Judged]], heard: list[Judged], laws: _LawFits, n_law_splits: int
) -> tuple[Claim, ...]:
    bound = _BOUND if size == "full" else _PUBLISHED["linear"][2]
    note = (
        'Bounded by the split: of the nine numbers that end in "hundred" a random training set holds none to three, '
        "and an LSTM that has not heard a number end there answers the others by hundreds wrong (second table). On all "
        "other numbers the error is below the bound. More starts do not help: 24 on each of splits 100 to 102, with "
        "0, 1 and 2 of the nine in training, still left errors of 313, 41 and 53 on the others of the nine."
        if size == "full"
        else "The quick size is held to the published error of the plain LSTM; the full size to 0.41."
    )
    others = [
        float(absolute_errors(judged.network, _bare(split)[1], split.words).mean())
        for seed, judged in enumerate(ours["NALU"])
        for split in (split_below_a_thousand(seed),)
    ]
    return (
        at_most("LSTM + NALU, ours: mean test error", bound, float(np.mean([one.test for one in ours["NALU"]])), note),
        at_most(
            'LSTM + NALU, ours: mean error of the test numbers that do not end in "hundred"',
            bound,
            float(np.mean(others)),
        ),
        at_most(f"LSTM + NALU, ours, {_HEARD}: mean test error", bound, float(np.mean([one.test for one in heard]))),
        at_most(f"recurrent arithmetic unit: largest test error of {n_law_splits} splits", 0.0, max(laws.worst_errors)),
        at_most(
            f"recurrent arithmetic unit: largest error of {_N_CHECKED[size]:,} numbers to 999,999",
            0.0,
            max(laws.large_errors),
        ),
    )


@torch.no_grad()
def _after_each_word(network: SequenceNetwork, number: int, words: tuple[str, ...]) -> list[float]:
    (sentence,) = tokens([in_words(number)], words)
    states = network.states(torch.tensor([sentence]))[0]
    answers: list[float] = network.head(states)[:, 0].tolist()
    return answers


def _words_panel(ours: dict[Head, list[Judged]], laws: _LawFits) -> Panel:
    split = split_below_a_thousand(0)
    number = next(number for number in split.test if number > 300 and len(in_words(number)) == 5)
    steps = tuple(float(step) for step in range(5))

    def curve(label: str, network: SequenceNetwork, words: tuple[str, ...]) -> Curve:
        return Curve(label=label, x=steps, y=tuple(_after_each_word(network, number, words)), kind="ours")

    return Panel(
        title=f"after each word of {number}, a test number",
        x_label="word",
        y_label="answer",
        curves=(
            *(curve(LABELS[head], ours[head][0].network, split.words) for head in HEADS),
            curve("arithmetic unit", law_network(laws.chosen[0].law), split.words),
        ),
        ticks=in_words(number),
    )


def _registers_panel(laws: _LawFits) -> Panel:
    split = split_to_a_million(0)
    (sentence,) = tokens([in_words(_SHOWN)], split.words)
    states = laws.large[0].law.states(sentence)[1:]
    steps = tuple(float(step) for step in range(len(sentence)))
    return Panel(
        title=f"the unit's registers, {_SHOWN:,}",
        x_label="word",
        y_label="register",
        curves=tuple(
            Curve(label=f"register {index + 1}", x=steps, y=tuple(column.tolist()), kind="ours")
            for index, column in enumerate(states.T)
        ),
        y_scale="symlog",
        y_floor=1.0,
        ticks=in_words(_SHOWN),
    )


def _bars_panel(as_published: dict[Head, list[Judged]], ours: dict[Head, list[Judged]], laws: _LawFits) -> Panel:
    steps = tuple(float(step) for step in range(len(HEADS)))

    def bars(label: str, fits: dict[Head, list[Judged]]) -> Curve:
        tests = [[judged.test for judged in fits[head]] for head in HEADS]
        return Curve(
            label=label,
            x=steps,
            y=tuple(float(np.mean(values)) for values in tests),
            low=tuple(min(values) for values in tests),
            high=tuple(max(values) for values in tests),
            style="bars",
        )

    return Panel(
        title="test error (zero is drawn at 0.001)",
        x_label="model",
        y_label="mean absolute error",
        curves=(
            Curve(label="published", x=steps, y=tuple(_PUBLISHED[h][2] for h in HEADS), style="bars", kind="published"),
            bars("the paper's recipe, here", as_published),
            bars("second order", ours),
            Curve(label="arithmetic unit", x=(3.0,), y=(float(np.mean(laws.test_errors)),), style="bars", kind="ours"),
        ),
        y_scale="log",
        y_floor=0.001,
        ticks=(*(LABELS[head] for head in HEADS), "unit"),
    )


NUMBER_WORDS = NumberWords()
