"""Peers of our models on tables, at compact untuned settings, and ours; all take the same rows."""

import hashlib
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import lightgbm
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV
from torch import nn

import training.tabular
from training.bench.table.optional_peers import PACKAGES, installed, optional_peer
from training.bench.table.results import OURS, REFERENCE
from training.evaluation.leaderboard import BASELINES, TableRows
from training.tabular.fit import fit_table_model
from training.tabular.rows import Rows

Floats = NDArray[np.float64]
Method = Callable[[TableRows, TableRows, tuple[int, ...], int], Floats]

_N_TREES, _LEARNING_RATE = 600, 0.05
_WIDTH, _N_HIDDEN = 256, 3
_BATCH, _EPOCHS, _PATIENCE, _STEP = 256, 200, 20, 1e-3


def _ours(train: TableRows, test: TableRows, n_codes: tuple[int, ...], seed: int) -> Floats:
    fit = fit_table_model(Rows(train.numeric, train.codes), n_codes, train.targets, seed=seed)
    return fit.model.predict(Rows(test.numeric, test.codes))


def _lightgbm(
    train: TableRows, test: TableRows, n_codes: tuple[int, ...], seed: int, *, linear: bool = False
) -> Floats:
    d_numeric = train.numeric.shape[1]
    data = lightgbm.Dataset(
        train.features,
        train.targets[:, 0],
        categorical_feature=list(range(d_numeric, d_numeric + len(n_codes))),
        params={"linear_tree": linear, "verbose": -1},
    )
    settings = {"objective": "l2", "learning_rate": _LEARNING_RATE, "seed": seed, "num_threads": 1, "verbose": -1}
    booster = lightgbm.train(settings | ({"linear_tree": True} if linear else {}), data, _N_TREES)
    return np.asarray(booster.predict(test.features), dtype=np.float64)[:, None]


def _power_law(train: TableRows, test: TableRows, n_codes: tuple[int, ...], seed: int) -> Floats:
    """Ridge regression of log y on log x (on x where it is not positive) and indicators."""
    if train.targets.min() <= 0:
        return BASELINES["linear (ridge)"](train, test, seed)
    fill = np.nanmedian(train.numeric, axis=0)
    positive = np.nanmin(train.numeric, axis=0) > 0
    smallest = np.where(positive, np.nanmin(train.numeric, axis=0), 1.0)

    def design(rows: TableRows) -> Floats:
        numeric = np.where(np.isnan(rows.numeric), fill, rows.numeric)
        logs = np.log(np.maximum(numeric, 0.1 * smallest))
        indicators = [rows.codes[:, [j]] == np.arange(n) for j, n in enumerate(n_codes)]
        return np.concatenate([np.where(positive, logs, numeric), *indicators], axis=1).astype(np.float64)

    block = design(train)
    mean, spread = block.mean(axis=0), block.std(axis=0)
    spread[spread == 0] = 1.0
    model = RidgeCV(alphas=np.logspace(-3, 3, 13)).fit((block - mean) / spread, np.log(train.targets[:, 0]))
    with np.errstate(over="ignore"):
        return np.exp(np.asarray(model.predict((design(test) - mean) / spread), dtype=np.float64))[:, None]


def _mlp(train: TableRows, test: TableRows, n_codes: tuple[int, ...], seed: int) -> Floats:
    """Three hidden layers of 256 SiLU units on standardised columns and indicators, Adam with early stopping."""
    fill = np.nanmedian(train.numeric, axis=0)

    def design(rows: TableRows) -> Floats:
        numeric = np.where(np.isnan(rows.numeric), fill, rows.numeric)
        indicators = [rows.codes[:, [j]] == np.arange(n) for j, n in enumerate(n_codes)]
        return np.concatenate([numeric, *indicators], axis=1).astype(np.float64)

    block = design(train)
    mean, spread = block.mean(axis=0), block.std(axis=0)
    spread[spread == 0] = 1.0
    centre, scale = float(train.targets.mean()), float(train.targets.std())
    x = torch.as_tensor((block - mean) / spread, dtype=torch.float32)
    y = torch.as_tensor((train.targets - centre) / scale, dtype=torch.float32)
    torch.manual_seed(seed)
    widths = [x.shape[1], *[_WIDTH] * _N_HIDDEN]
    layers: list[nn.Module] = []
    for d_in, d_out in pairwise(widths):
        layers += [nn.Linear(d_in, d_out), nn.SiLU()]
    network = nn.Sequential(*layers, nn.Linear(_WIDTH, 1))
    optimiser = torch.optim.AdamW(network.parameters(), lr=_STEP, weight_decay=1e-2)
    order = torch.randperm(len(x))
    n_held_out = max(1, len(x) // 7)
    held_out, rest = order[:n_held_out], order[n_held_out:]
    best, kept, waited = float("inf"), network.state_dict(), 0
    for _ in range(_EPOCHS):
        network.train()
        for batch in torch.split(rest[torch.randperm(len(rest))], _BATCH):
            optimiser.zero_grad()
            nn.functional.mse_loss(network(x[batch]), y[batch]).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        network.eval()
        with torch.no_grad():
            loss = float(nn.functional.mse_loss(network(x[held_out]), y[held_out]))
        if loss < best:
            best, kept, waited = loss, {name: value.clone() for name, value in network.state_dict().items()}, 0
        else:
            waited += 1
            if waited == _PATIENCE:
                break
    network.load_state_dict(kept)
    with torch.no_grad():
        answer = network(torch.as_tensor((design(test) - mean) / spread, dtype=torch.float32))
    return np.asarray(centre + scale * answer.numpy(), dtype=np.float64)


def _baseline(name: str) -> Method:
    def method(train: TableRows, test: TableRows, n_codes: tuple[int, ...], seed: int) -> Floats:  # noqa: ARG001
        return BASELINES[name](train, test, seed)

    return method


METHODS: dict[str, Method] = {
    OURS: _ours,
    "mean": _baseline("mean"),
    "ridge": _baseline("linear (ridge)"),
    "power law": _power_law,
    REFERENCE: _lightgbm,
    "HistGradientBoosting": _baseline("gradient-boosted trees"),
    "linear trees": partial(_lightgbm, linear=True),
    "MLP": _mlp,
    **{name: optional_peer(name) for name in PACKAGES},
}
"""Name → fits on the first rows and predicts the second, given codes of each category column and a seed."""


def available() -> list[str]:
    """Return the methods that can be run here: all but those whose packages are not installed."""
    there = installed()
    return [name for name in METHODS if name not in PACKAGES or name in there]


def revision(method: str) -> str:
    """Return what a kept result of a method depends on: for ours a hash of its code."""
    if method != OURS:
        return "1"
    code = hashlib.sha256()
    for folder in training.tabular.__path__:
        for file in sorted(Path(folder).glob("*.py")):
            code.update(file.read_bytes())
    return code.hexdigest()[:12]
