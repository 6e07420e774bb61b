"""Identity: networks learn y = x on [−5, 5] and are asked on [−20, 20], one for each activation of the paper.

Source: Trask et al., arXiv:1808.00508, section 1.1 and figure 1: autoencoders with three hidden layers of eight units,
squared error; the paper gives a figure and no table.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.contract.manifest import ModelManifest, NumberColumn, OutputColumn, Provenance
from models.contract.repository import ModelRepository
from models.networks import ArithmeticNetwork
from models.units import NAC, NALU, ArithmeticUnit
from training.evaluation.metrics import regression_metrics
from training.fitting.ensembles import answers, fit_ensemble
from training.fitting.first_order import FirstOrderConfig, Rows, fit
from training.fitting.sequences import Batch, SequenceFitConfig
from training.parity import RawRows
from training.publish import FittedModel, library_versions, publish
from training.reproduce.experiment import Progress, Publication, Result, told_by_checks
from training.reproduce.outcome import (
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
)

_INSIDE, _OUTSIDE = 5.0, 20.0
_D_HIDDEN = 8
_BATCH = 64
_N_VALIDATION = 128
_N_ROWS = 128
_GRID = np.linspace(-_OUTSIDE, _OUTSIDE, 401)
_GATE_OPEN = 40.0
"""Logit whose sigmoid is 1 in float64, to the last bit."""

_LARGEST_ROUNDING = 8.0
"""Units in the last place of the largest input within which an answer counts as float precision: the networks make four
sums of up to eight products, and each rounds."""

_SECOND_ORDER = FirstOrderConfig(max_epochs=1, learning_rate=0.01, polish_steps=100)
"""One step of Adam and then L-BFGS: from the start it ends at rounding in 60 of 60 networks; after Adam has come within
1e-8 its line search finds no step small enough."""

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "Hardtanh": nn.Hardtanh,
    "Sigmoid": nn.Sigmoid,
    "ReLU6": nn.ReLU6,
    "Tanh": nn.Tanh,
    "Tanhshrink": nn.Tanhshrink,
    "Hardshrink": nn.Hardshrink,
    "LeakyReLU": nn.LeakyReLU,
    "Softshrink": nn.Softshrink,
    "Softsign": nn.Softsign,
    "ReLU": nn.ReLU,
    "PReLU": nn.PReLU,
    "Softplus": nn.Softplus,
    "ELU": nn.ELU,
    "SELU": nn.SELU,
}
"""The paper's fourteen."""

_BOUNDED = ("Hardtanh", "Sigmoid", "ReLU6", "Tanh", "Softsign")
"""Activations with a largest value: no weights let them go on outside."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Family:
    """Networks of one architecture.

    Attributes:
        label: What they are called.
        kind: Whether the recipe is the paper's.
        build: Makes one, its weights from torch's global generator.
        dtype: Their type.
        second_order: Whether L-BFGS takes Adam's place.
    """

    label: str
    kind: Kind
    build: Callable[[], nn.Module]
    dtype: torch.dtype = torch.float32
    second_order: bool = False


@dataclass(frozen=True)
class _Trained:
    family: _Family
    networks: tuple[nn.Module, ...]
    errors: Floats
    """Absolute errors, shape (networks, grid)."""

    def outside(self) -> Floats:
        return self.errors[:, np.abs(_GRID) > _INSIDE]

    def inside(self) -> Floats:
        return self.errors[:, np.abs(_GRID) <= _INSIDE]


def _autoencoder(activation: Callable[[], nn.Module]) -> nn.Module:
    layers: list[nn.Module] = []
    for d_in in (1, _D_HIDDEN, _D_HIDDEN):
        layers += [nn.Linear(d_in, _D_HIDDEN), activation()]
    return nn.Sequential(*layers, nn.Linear(_D_HIDDEN, 1))


def _units(unit: Callable[[int, int], ArithmeticUnit]) -> ArithmeticNetwork:
    widths = (1, _D_HIDDEN, _D_HIDDEN, _D_HIDDEN, 1)
    return ArithmeticNetwork([unit(d_in, d_out) for d_in, d_out in pairwise(widths)])


def _precise_nac(d_in: int, d_out: int) -> NAC:
    return NAC(d_in, d_out, dtype=torch.float64)


def _summing_nalu(d_in: int, d_out: int) -> NALU:
    """Return a NALU whose gates are held at the sum."""
    unit = NALU(d_in, d_out, separate_weights=True, gate="independent", dtype=torch.float64)
    assert unit.g_hat is not None  # noqa: S101 # asked for above
    assert unit.multiplicative is not None  # noqa: S101 # likewise
    with torch.no_grad():
        unit.g_hat.fill_(_GATE_OPEN)
        unit.multiplicative.W_hat.zero_()
    unit.g_hat.requires_grad_(False)
    unit.multiplicative.requires_grad_(False)
    return unit


FAMILIES = (
    *(_Family(name, "reproduction", partial(_autoencoder, activation)) for name, activation in ACTIVATIONS.items()),
    _Family("NAC", "reproduction", lambda: _units(NAC)),
    _Family("NALU", "reproduction", lambda: _units(NALU)),
    _Family("NAC by L-BFGS", "ours", lambda: _units(_precise_nac), torch.float64, True),
    _Family("NALU by L-BFGS, gates at the sum", "ours", lambda: _units(_summing_nalu), torch.float64, True),
)


class Identity:
    """The experiment."""

    name = "identity"
    title = "who continues y = x"

    def default_seeds(self, size: Size) -> int:
        """Return the networks of each kind: 100 in full, as in the paper."""
        return 100 if size == "full" else 5

    def run(self, size: Size, seeds: int, progress: Progress) -> Result:
        """Train all kinds of networks and measure them on a grid."""
        n_steps = 10_000 if size == "full" else 400
        progress.start(self.name, len(FAMILIES))
        trained = []
        for position, family in enumerate(FAMILIES):
            trained.append(_train(family, position, seeds, n_steps, progress))
        return Result(_outcome(self, size, seeds, n_steps, trained), _publications(trained[-2:], seeds))


IDENTITY = Identity()


def _train(family: _Family, position: int, seeds: int, n_steps: int, progress: Progress) -> _Trained:
    networks = []
    with torch.random.fork_rng(devices=[]):
        for seed in range(seeds):
            torch.manual_seed(1000 * seed + position)
            networks.append(family.build())
    generator = torch.Generator().manual_seed(position)

    def draw(n_rows: int) -> Batch:
        shape = (seeds, n_rows, 1)
        x = _INSIDE * (2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1)
        return Batch((x.to(family.dtype),), x.to(family.dtype))

    validation = draw(_N_VALIDATION)
    if family.second_order:
        rows = draw(_N_ROWS)
        for seed, network in enumerate(networks):
            train, judge = _rows_of(rows, seed), _rows_of(validation, seed)
            fit(network, train, judge, _SECOND_ORDER, nn.functional.mse_loss, generator)
            progress.advance(family.label, 1 / seeds)
    else:
        config = SequenceFitConfig(max_steps=n_steps, learning_rate=0.01)
        tell = told_by_checks(progress, family.label, n_steps, config.check_every)
        mse = nn.functional.mse_loss
        fit_ensemble(networks, lambda _step: draw(_BATCH), validation, config, mse, on_check=tell)
    x = torch.as_tensor(_GRID)[:, None]
    predictions = answers(networks, x.to(family.dtype)).double()
    return _Trained(family, tuple(networks), (predictions - x).abs()[:, :, 0].numpy())


def _rows_of(batch: Batch, seed: int) -> Rows:
    return Rows((batch.inputs[0][seed],), batch.targets[seed])


def _outcome(experiment: Identity, size: Size, seeds: int, n_steps: int, trained: Sequence[_Trained]) -> Outcome:
    return Outcome(
        name=experiment.name,
        title=experiment.title,
        about=(
            "Autoencoders with three hidden layers of eight units learn y = x on [−5, 5].",
            "Asked on [−20, 20], networks with any of the paper's fourteen activations leave the line where the "
            "training range ends; networks of NACs do not.",
        ),
        size=size,
        seeds=seeds,
        setup=(
            f"{seeds} networks of each kind, {n_steps:,} steps of Adam on {_BATCH} fresh rows; the step size falls "
            "from 0.01 to a thousandth of it along a half cosine.",
            "Of the checks made every 100 steps, the one with the least squared error on other rows of [−5, 5] is "
            "kept.",
            "The paper shows a figure for the fourteen activations and no numbers; NAC and NALU stand beside them "
            "here, their autoencoders being stacks of four units with the same widths.",
            "NALU as published has no bias in its gate, which is 1/2 at 0 and changes with the sign of its input: one "
            "unit cannot be a sum on both sides of 0.",
            "Ours: the same networks in float64 by L-BFGS, which uses gradients only. The gates of NALU "
            "(independent of the input, weights of sum and product separate) are fixed before the fit, all at the sum, "
            "since that is the simplest choice and leaves no error inside.",
        ),
        tables=(_table(trained),),
        claims=_claims(trained),
        panels=_panels(trained),
        served=(Served(model="identity-nac", request='{"model": "identity-nac", "rows": [{"x": 1000000}]}'),),
    )


def _table(trained: Sequence[_Trained]) -> Table:
    return Table(
        title="Absolute error of y = x",
        columns=("mean on [−5, 5]", "mean outside, to ±20", "largest outside"),
        rows=tuple(
            Row(
                kind=one.family.kind,
                label=one.family.label,
                cells=(
                    measured(one.inside().mean(axis=1).tolist()),
                    measured(one.outside().mean(axis=1).tolist()),
                    measured(one.outside().max(axis=1).tolist()),
                ),
            )
            for one in trained
        ),
        notes=("Always answering 0 has a mean absolute error of 2.5 inside and 12.5 outside.",),
    )


def _claims(trained: Sequence[_Trained]) -> tuple[Claim, ...]:
    by_label = {one.family.label: one for one in trained}
    ulp = float(np.spacing(_OUTSIDE))
    exact = [
        at_most(
            f"{one.family.label}: largest error outside, worst network, in units in the last place of 20",
            _LARGEST_ROUNDING,
            float(one.outside().max()) / ulp,
        )
        for one in trained
        if one.family.kind == "ours"
    ]
    bounded = min(float(by_label[name].outside().mean(axis=1).min()) for name in _BOUNDED)
    drift = min(
        float(np.median(by_label[name].outside().mean(axis=1)) / np.median(by_label[name].inside().mean(axis=1)))
        for name in ACTIVATIONS
    )
    return (
        *exact,
        at_least("bounded activations: least mean error outside of any network", 2.0, bounded),
        at_least("each of the fourteen activations: median error outside over median error inside, least", 2.0, drift),
    )


def _panels(trained: Sequence[_Trained]) -> tuple[Panel, ...]:
    labels = {"NAC by L-BFGS": "NAC (ours)", "NALU by L-BFGS, gates at the sum": "NALU (ours)"}

    def curves(shown: Sequence[_Trained]) -> tuple[Curve, ...]:
        step = 4
        return tuple(
            Curve(
                label=labels.get(one.family.label, one.family.label),
                x=tuple(float(x) for x in _GRID[::step]),
                y=tuple(float(f"{y:.4g}") for y in np.median(one.errors[:, ::step], axis=0)),
                kind=one.family.kind,
            )
            for one in shown
        )

    return (
        Panel(
            title="activations, as the paper shows them",
            x_label="x",
            y_label="|error| of the median network",
            curves=curves(trained[: len(ACTIVATIONS)]),
            trained=(-_INSIDE, _INSIDE),
            y_ceiling=_OUTSIDE,
        ),
        Panel(
            title="the same beside NAC and NALU",
            x_label="x",
            y_label="|error| of the median network",
            curves=curves(trained),
            trained=(-_INSIDE, _INSIDE),
            y_scale="log",
            y_floor=1e-16,
            y_ceiling=100.0,
        ),
    )


def _publications(trained: Sequence[_Trained], seeds: int) -> tuple[Publication, ...]:
    names = ("identity-nac", "identity-nalu")
    return tuple(_Publish(name, one, seeds) for name, one in zip(names, trained, strict=True))


@dataclass(frozen=True)
class _Publish:
    """Publishes the first network of a kind."""

    name: str
    trained: _Trained
    seeds: int

    def __call__(self, repository: ModelRepository) -> ModelManifest:
        network = self.trained.networks[0]
        inside = np.linspace(-_INSIDE, _INSIDE, 500)[:, None]
        outside = np.linspace(-_OUTSIDE, _OUTSIDE, 500)[:, None]
        with torch.no_grad():
            answered = {
                "inside": (inside, _numbers(network(torch.as_tensor(inside)))),
                "outside": (outside, _numbers(network(torch.as_tensor(outside)))),
            }
        model = FittedModel(
            name=self.name,
            kind="arithmetic",
            description=f"y = x by an autoencoder of {self.trained.family.label}, learned on [−5, 5].",
            network=network,
            inputs=(NumberColumn(name="x", minimum=-_INSIDE, maximum=_INSIDE),),
            outputs=(OutputColumn(name="y", minimum=-_INSIDE, maximum=_INSIDE),),
            regions={"inside": RawRows(inside), "outside": RawRows(outside)},
            metrics={region: regression_metrics(x, y, ("y",)) for region, (x, y) in answered.items()},
            provenance=Provenance(task="reproduce identity", n_rows=_N_ROWS, seed=0, versions=library_versions()),
        )
        return publish(repository, model.created_at(datetime.now(UTC)), "float64", {"task": "reproduce identity"}, {})


def _numbers(values: Tensor) -> Floats:
    return np.asarray(values.numpy(), dtype=np.float64)
