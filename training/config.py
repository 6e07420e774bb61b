"""Settings of a run: typed, frozen, read from TOML with unknown keys refused."""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from models.contract.columns import Unseen
from models.contract.manifest import Dtype
from models.contract.repository import ModelRepository
from models.contract.signing import Signer
from training.errors import ConfigError

UnitKind = Literal["nac", "nau", "nmu", "real_npu", "modified_real_npu", "nau_nmu", "nalu"]
"""Units, alone or stacked, that a run on an operation can try."""

_FIRST_ORDER_RESTARTS = 8
"""Starts of every unit by first-order steps: what the errors and times in docs/training.md were measured with."""

Finite = Annotated[float, Field(allow_inf_nan=False)]
Unit = Annotated[str, Field(min_length=1, max_length=50)]


class RunConfig(BaseModel):
    """What every run has.

    Attributes:
        name: Name of the published model; None takes the operation's or the file's.
        repository: Model repository to publish to.
        runs: Folder that keeps a folder per run.
        seed: Seed of data, split and fits; the same seed gives the same result on the same machine.
        restarts: Fits of each candidate.
        dtype: Floating-point type of the exported graph.
        threads: Threads of torch; 1 gives the same result whatever the machine has.
        sign_key: File of the private key that signs what is published; None leaves it unsigned.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str | None = None
    repository: Path = Path("model_repository")
    runs: Path = Path("runs")
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    restarts: Annotated[int, Field(ge=1, le=1000)] = 3
    dtype: Dtype = "float64"
    threads: Annotated[int, Field(ge=1, le=256)] = 1
    sign_key: Path | None = None

    def open_repository(self) -> ModelRepository:
        """Return the repository to publish to, found to be writable.

        Raises:
            SigningKeyError: When there is no key where one is named.
            PublicationError: When the repository cannot be written.
        """
        repository = ModelRepository(self.repository, signer=None if self.sign_key is None else Signer(self.sign_key))
        repository.check_writable()
        return repository


class ExactConfig(RunConfig):
    """A run that looks for an exact law.

    Attributes:
        structures: Structures offered, the simplest first; None offers all.
        factored: Whether to look for factored laws beside these: powers of several sums, and numbers of any size.
        max_terms: Products of powers in a sum of products, at most; None takes the search's own limit.
        noise: Whether labels may have noise or outliers; without, a law must give every row to within rounding.
        allow_inexact: Whether the best approximation is published where no exact law is found.
    """

    structures: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    factored: bool = False
    max_terms: Annotated[int, Field(ge=1, le=10_000)] | None = None
    noise: bool = True
    allow_inexact: bool = False


class ArithmeticConfig(ExactConfig):
    """A run on an arithmetic operation.

    Attributes:
        operation: The operation.
        solver: "exact" searches for the exact law, "adam" fits the units by first-order steps, as published.
        low: Smallest training input.
        high: Largest training input.
        rows: Training rows; a quarter more is drawn for validation and as much again for the test.
        units: Units that "adam" tries, the simplest first.
        max_epochs: Its steps for each fit (every step sees all rows).
        restarts: Starts; unless given, 14 for the search and 8 for "adam", each of which fits all its units.
    """

    operation: str
    solver: Literal["exact", "adam"] = "exact"
    low: Finite = -10.0
    high: Finite = 10.0
    rows: Annotated[int, Field(ge=16, le=1_000_000)] = 512
    units: Annotated[tuple[UnitKind, ...], Field(min_length=1)] = (
        "nau",
        "nmu",
        "modified_real_npu",
        "real_npu",
        "nau_nmu",
        "nalu",
    )
    max_epochs: Annotated[int, Field(ge=1, le=1_000_000)] = 3000
    restarts: Annotated[int, Field(ge=1, le=1000)] = 14

    @model_validator(mode="before")
    @classmethod
    def _first_order_restarts(cls, given: dict[str, Any]) -> dict[str, Any]:
        return {"restarts": _FIRST_ORDER_RESTARTS, **given} if given.get("solver") == "adam" else given

    @model_validator(mode="after")
    def _range(self) -> Self:
        if not self.low < self.high:
            msg = f"the range must go up, however: {self.low:g} to {self.high:g}"
            raise ValueError(msg)
        return self


class LawConfig(ExactConfig):
    """A run that looks for the exact law of a table's column.

    Attributes:
        data: CSV, Parquet or Arrow file.
        target: The column.
        drop: Columns to leave out.
        numbers: Text columns to read as numbers.
        units: Unit of measurement by column, kept in the manifest.
        note: What a reader of the model must know about the data.
    """

    data: Path
    target: str
    drop: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    units: dict[str, Unit] = {}
    restarts: Annotated[int, Field(ge=1, le=1000)] = 14
    note: str | None = None


Family = Literal["trunk", "network"]
"""Families of models for a table."""

SplitKind = Literal["random", "group", "time", "outside"]
"""How the rows that judge a table's model are held out."""

Objective = Literal["inside", "balanced", "outside"]
"""Where a table's model is to be accurate: where the training rows are, outside, or both."""


class TableConfig(RunConfig):
    """A run on a table.

    Attributes:
        data: CSV, Parquet or Arrow file.
        targets: Columns to predict.
        drop: Columns to leave out.
        categories: Number columns to read as categories.
        numbers: Text columns to read as numbers.
        dates: Columns of dates to take as numbers: days elapsed, year, month, weekday, hour.
        unseen: Whether a level never seen is refused by the service, or answered as "other"; then levels of fewer than
            five training rows count as other too, and teach what to answer.
        max_rows: Rows to fit and to choose on at most; of a longer table as many are drawn at random, and the model is
            judged on all that it was not fitted on.
        weight: Column of how much each row counts, in fits and in errors; None for the same.
        split: How rows are held out to choose and to judge by; None takes "group" or "time" where a column for it is
            named, else "random". "outside" holds out the top fifth of the column that moves the targets most.
        group: Column whose equal values are held out together.
        time_column: Column of numbers or dates in whose order the last rows are held out.
        units: Unit of measurement by column, kept in the manifest.
        family: "trunk" fits arithmetic trunks and boosted trees on what they leave, "network" candidate networks by
            gradients; the settings from `max_epochs` to `residual`, and `restarts`, are those of the network.
        objective: What the choice of trunks weighs.
        max_epochs: Passes over the training rows at most.
        batch_size: Rows a step; None chooses by the table's length.
        learning_rate: Adam's step size at the start.
        weight_decay: Decoupled weight decay.
        patience: Epochs without a better validation loss after which a fit ends.
        power_terms: Products of powers in the trunk.
        residual: Width of the residual's hidden layers in the candidates that have one; 0 for none.
        search_s: Seconds to search for better settings of trees and trunks, shared by the run's fits and targets; None
            for no limit but that of the trials. Without both there is no search.
        search_trials: Trials for each target of each fit at most; None for as many as there is time for.
        outside: Whether to fit once more without the tail of the driving column, to measure the error outside.
        all_rows: Whether to fit once more to all rows, those that judged too, and to publish that model.
        card: Whether to measure the columns' importance and to publish a model card with plots.
        note: What a reader of the model must know about the data.
        resume: Whether the finished fits of a run with the same settings, data and code that was killed are taken over.
    """

    data: Path
    targets: Annotated[tuple[str, ...], Field(min_length=1)]
    drop: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    dates: tuple[str, ...] = ()
    unseen: Unseen = "refuse"
    max_rows: Annotated[int, Field(ge=100, le=100_000_000)] = 200_000
    weight: str | None = None
    split: SplitKind | None = None
    group: str | None = None
    time_column: str | None = None
    units: dict[str, Unit] = {}
    family: Family = "trunk"
    objective: Objective = "balanced"
    max_epochs: Annotated[int, Field(ge=1, le=100_000)] = 200
    batch_size: Annotated[int, Field(ge=1)] | None = None
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 3e-3
    weight_decay: Annotated[float, Field(ge=0, le=10)] = 1e-2
    patience: Annotated[int, Field(ge=1)] = 40
    power_terms: Annotated[int, Field(ge=0, le=256)] = 4
    residual: Annotated[int, Field(ge=0, le=1024)] = 32
    search_s: Annotated[float, Field(gt=0, le=30 * 86_400, allow_inf_nan=False)] | None = None
    search_trials: Annotated[int, Field(ge=1, le=1000)] | None = None
    outside: bool = True
    all_rows: bool = False
    card: bool = True
    note: str | None = None
    resume: bool = False

    @model_validator(mode="after")
    def _split_has_its_column(self) -> Self:
        for kind, option, column in (("group", "group", self.group), ("time", "time_column", self.time_column)):
            if self.split == kind and column is None:
                msg = f"a split by {kind} must have a column, however {option} names none; name it"
                raise ValueError(msg)
        if self.split is None and self.group is not None and self.time_column is not None:
            msg = "a split must be by group or by time, however columns for both are named; say which with split"
            raise ValueError(msg)
        if (self.search_s or self.search_trials) and self.family == "network":
            msg = "a search for settings must be of the trunk family, however: family 'network'; leave one of them out"
            raise ValueError(msg)
        return self

    @property
    def split_kind(self) -> SplitKind:
        """How rows are held out."""
        if self.split is not None:
            return self.split
        return "group" if self.group is not None else "time" if self.time_column is not None else "random"


Config = TypeVar("Config", bound=RunConfig)


def load_config(kind: type[Config], path: Path | None, given: dict[str, Any]) -> Config:
    """Make a config from a TOML file and from what was given on the command line, which wins.

    Args:
        kind: Class of the config.
        path: TOML file, or None.
        given: Values by name; None means not given.

    Raises:
        ConfigError: When the file cannot be read or a value or key is not allowed.
    """
    content: dict[str, Any] = {}
    if path is not None:
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            msg = f"a config must be a readable TOML file, however {path}: {error}"
            raise ConfigError(msg) from error
    content.update({key: value for key, value in given.items() if value is not None})
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc']) or 'config'}: {fault['msg']}"
            for fault in error.errors(include_input=False, include_url=False)[:5]
        )
        known = ", ".join(kind.model_fields)
        msg = f"a config must hold together, however: {faults}; the keys are {known}"
        raise ConfigError(msg) from error
