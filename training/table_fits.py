"""The families of models for a table: a trunk with a residual of boosted trees, and a network trained by gradients."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.networks import TabularNetwork
from models.preprocessing import TablePreprocessing
from training.coded_table import CodedTable
from training.config import Family, TableConfig
from training.datasets import TrainingTable
from training.fitting.first_order import FirstOrderConfig
from training.fitting.selection import Candidate, Progress, search
from training.kept_fits import KeptFits
from training.splits import Split
from training.tabular.fit import WORK, WORK_OF_ALL_ROWS, fit_table_model
from training.tabular.gains import n_refits
from training.tabular.model import TabularModel
from training.tabular.rows import Rows, mean_of
from training.tabular.search import Budget
from training.tabular.tails import MOST_FOLDS
from training.tabular.trials import kind_name
from training.tabular.trunks import KINDS
from training.tabular.trust import Trust, fit_trust

_STEPS_PER_EPOCH = 100
_BATCH_SIZES = (32, 1024)
"""Without a batch size, rows a step follow from the table: about a hundred steps an epoch, between these bounds."""


@dataclass(frozen=True)
class FittedTable:
    """A model fitted to a table.

    Attributes:
        coded: The table with the levels that the training rows have as codes.
        model: The network or the tabular model.
        report: What was tried and chosen, for `report.json`.
        trust: How far a tabular model's answers are to be trusted; None for a network.
    """

    coded: CodedTable
    model: nn.Module | TabularModel
    report: dict[str, Any]
    trust: Trust | None = None

    @torch.no_grad()
    def predict(self, index: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return predictions for rows of the table, shape (len(index), d_outputs)."""
        if isinstance(self.model, TabularModel):
            return self.model.predict(self.rows(index))
        return np.asarray(self.model(*self.coded.tensors(index).inputs).numpy(), dtype=np.float64)

    def rows(self, index: NDArray[np.int64]) -> Rows:
        """Return rows of the table as tabular models take them."""
        return self.coded.tabular(index)


def _fit_network(
    config: TableConfig,
    table: TrainingTable,
    split: Split,
    progress: Progress,
    title: str,
    kept: KeptFits,
    like: FittedTable | None,  # noqa: ARG001 - one signature for all
) -> FittedTable:
    """Fit candidate networks by gradients and keep the one that validates best.

    Raises:
        FitError: When every fit diverged.
    """
    coded = CodedTable.of(table, split.train, config.unseen)
    train, validation = coded.tensors(split.train), coded.tensors(split.validation)
    preprocessing = TablePreprocessing.fit(coded.table.numeric[split.train], coded.n_codes)
    targets = coded.table.targets[split.train]
    weights = None if table.weights is None else table.weights[split.train]
    mean = mean_of(targets, weights)
    scale = np.sqrt(mean_of((targets - mean) ** 2, weights))
    scale[~(scale > 0)] = 1.0
    unit = torch.as_tensor(scale)

    def loss(predictions: Tensor, expected: Tensor) -> Tensor:
        squared = ((predictions - expected[:, : len(unit)]) / unit) ** 2
        return torch.mean(squared if weights is None else squared * expected[:, len(unit) :])

    def build(n_power_terms: int, d_residual: int, generator: torch.Generator) -> nn.Module:
        return TabularNetwork(
            preprocessing,
            target_mean=mean,
            target_scale=scale,
            n_power_terms=n_power_terms,
            d_residual=d_residual,
            generator=generator,
        )

    low, high = _BATCH_SIZES
    settings = FirstOrderConfig(
        max_epochs=config.max_epochs,
        learning_rate=config.learning_rate,
        batch_size=config.batch_size or max(low, min(high, len(train) // _STEPS_PER_EPOCH)),
        patience=config.patience,
        weight_decay=config.weight_decay,
        regulariser_weight=1e-3,
    )
    kinds = {
        "linear": (0, 0),
        "powers": (config.power_terms, 0),
        "linear + residual": (0, config.residual),
        "powers + residual": (config.power_terms, config.residual),
    }
    candidates = [
        Candidate(name, partial(build, *widths), settings)
        for position, (name, widths) in enumerate(kinds.items())
        if widths not in list(kinds.values())[:position]
    ]
    selection = search(
        candidates,
        train,
        validation,
        loss,
        seed=config.seed,
        n_restarts=config.restarts,
        progress=progress,
        title=title,
        kept=kept,
    )
    report = {
        "chosen": selection.candidate,
        "validation_loss": selection.validation_loss,
        "trials": [trial.as_dict() for trial in selection.trials],
    }
    return FittedTable(coded, selection.network, report)


def _fit_trunk(
    config: TableConfig,
    table: TrainingTable,
    split: Split,
    progress: Progress,
    title: str,
    kept: KeptFits,
    like: FittedTable | None,
) -> FittedTable:
    """Fit a committee of trunks and a residual; the choice cross-validates the training rows alone."""
    coded = CodedTable.of(table, split.train, config.unseen)
    rows, targets = coded.tabular(split.train), table.targets[split.train]
    gains = None if like is None or like.trust is None else like.trust.gains
    work = targets.shape[1] * WORK
    work_of_trust = 1 if gains is not None else 1 + targets.shape[1] * WORK_OF_ALL_ROWS * n_refits(len(rows))
    progress.start(title, work + work_of_trust, f"{len(KINDS)} kinds of trunk, on up to {MOST_FOLDS} folds")
    fit = fit_table_model(
        rows,
        coded.n_codes,
        targets,
        objective=config.objective,
        seed=config.seed,
        budget=_budget(config),
        names=table.number_names,
        tick=lambda what, done: progress.step(done, what),
        kept=kept,
    )
    trust = kept.recall("trust", Trust)
    if trust is None:
        progress.step(work, "how far its answers are to be trusted")
        trust = fit_trust(rows, coded.n_codes, targets, fit, config.seed, gains)
        kept.keep("trust", trust)
    chosen = {
        name: ", ".join(kind_name(kind) for kind in choice.kinds)
        for name, choice in zip(table.target_names, fit.choices, strict=True)
    }
    progress.finish("; ".join(f"{name}: {kinds}" for name, kinds in chosen.items()))
    report = {
        "chosen": chosen,
        "choices": {name: choice.as_dict() for name, choice in zip(table.target_names, fit.choices, strict=True)},
    }
    if fit.searches:
        report["search"] = {name: found.as_dict() for name, found in zip(table.target_names, fit.searches, strict=True)}
    return FittedTable(coded, fit.model, report, trust)


def _budget(config: TableConfig) -> Budget | None:
    """Share the run's time for searching between its fits and targets."""
    if config.search_s is None and config.search_trials is None:
        return None
    n_fits = 1 + (config.outside and config.split_kind != "outside") + config.all_rows
    seconds = np.inf if config.search_s is None else config.search_s / (n_fits * len(config.targets))
    return Budget(seconds, config.search_trials)


Fits = Callable[[TableConfig, TrainingTable, Split, Progress, str, KeptFits, FittedTable | None], FittedTable]
"""Fits a model to the training rows of a split, told what to call itself, where finished fits are kept, and which model
was fitted to other rows of the same table, from which is taken over what need not be measured twice."""

FITS: dict[Family, Fits] = {"trunk": _fit_trunk, "network": _fit_network}
"""Family of models → fits one."""
