"""Results of methods on tables, kept in a file. Importing this module loads no torch: pages are made at once."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from training.errors import ConfigError

OURS = "trunk + residual"
REFERENCE = "LightGBM"


@dataclass(frozen=True)
class Result:
    """What one method reached on one split of one task.

    Attributes:
        data_set: Name of the set.
        target: Column predicted.
        protocol: How the rows were split.
        seed: Seed of split and fit.
        method: Name of the method.
        revision: What the result depends on beside these.
        rmse: Root mean squared error on the test rows; None where it overflowed.
        mae: Mean absolute error, likewise.
        n_train: Rows fitted on.
        n_test: Rows judged by.
        seconds: Processor time of fit and prediction.
    """

    data_set: str
    target: str
    protocol: str
    seed: int
    method: str
    revision: str
    rmse: float | None
    mae: float | None
    n_train: int
    n_test: int
    seconds: float

    @property
    def key(self) -> tuple[Any, ...]:
        """What a result is found again by."""
        return (self.data_set, self.target, self.protocol, self.seed, self.method, self.revision)


class Keyed(Protocol):
    """A result that is found again by its key; a data class."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def key(self) -> tuple[Any, ...]:
        """What a result is found again by."""


Kind = TypeVar("Kind", bound=Keyed)


class Kept(Generic[Kind]):
    """Results of earlier runs in a file of JSON lines.

    Args:
        path: The file, or None to keep nothing.
        kind: Class of the results.

    Raises:
        ConfigError: When the file is not one of results.
    """

    def __init__(self, path: Path | None, kind: type[Kind]) -> None:
        self._path = path
        self._results: dict[tuple[Any, ...], Kind] = {}
        if path is not None and path.is_file():
            try:
                for line in path.read_text(encoding="utf-8").splitlines():
                    result = kind(**json.loads(line))
                    self._results[result.key] = result
            except (ValueError, TypeError) as error:
                msg = f"kept results must be JSON lines of the same command, however {path}: {error}; remove it"
                raise ConfigError(msg) from error

    def find(self, key: tuple[Any, ...]) -> Kind | None:
        """Return a kept result, or None."""
        return self._results.get(key)

    def keep(self, result: Kind) -> None:
        """Keep a result, in the file too."""
        self._results[result.key] = result
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(asdict(result)) + "\n")
