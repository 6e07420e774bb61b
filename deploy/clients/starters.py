"""Every starter model's sample rows as clients give them, and what must come back: read from the manifests alone."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Starter:
    """A starter model.

    Attributes:
        name: Its name.
        rows: Column → value, row by row.
        tensors: Tensor → array, text as objects.
        outputs: Names of the outputs.
        wanted: Predictions measured at publication, shape (n_rows, n_outputs).
        rtol: How far an answer may be off, relatively.
        atol: And absolutely, by output.
    """

    name: str
    rows: list[dict[str, Any]]
    tensors: dict[str, Any]
    outputs: list[str]
    wanted: Any
    rtol: float
    atol: Any

    def check(self, found: Any, how: str) -> None:
        """Refuse an answer that is not what was measured."""
        array = np.asarray(found, dtype=np.float64).reshape(np.shape(self.wanted))
        off = np.abs(array - self.wanted) > self.atol + self.rtol * np.abs(self.wanted)
        if off.any():
            sys.exit(f"{self.name}, {how}: {array.tolist()} must be {self.wanted.tolist()}")

    def datatype(self, tensor: str) -> str:
        """Return the protocol's name of a tensor's type."""
        return "BYTES" if self.tensors[tensor].dtype == object else "FP64"


def read_starters(repository: str) -> list[Starter]:
    """Read every model of a repository."""
    return [_read(json.loads(file.read_text())) for file in sorted(Path(repository).glob("*/1/manifest.json"))]


def _read(manifest: dict[str, Any]) -> Starter:
    rows = manifest["sample"]["rows"]
    kinds: dict[str, list[str]] = {}
    for column in manifest["inputs"]:
        kinds.setdefault(column["kind"], []).append(column["name"])
    tensors: dict[str, Any] = {}
    for kind, tensor, dtype in (("number", "numeric", np.float64), ("category", "categorical", object)):
        if kind in kinds:
            listed = [[row[name] for name in kinds[kind]] for row in rows]
            tensors[tensor] = np.array(listed, dtype=dtype)
    for name in kinds.get("text", []):
        tensors[name] = np.array([[row[name]] for row in rows], dtype=object)
    unknown = kinds.keys() - {"number", "category", "text"}
    if unknown:
        sys.exit(f"{manifest['name']}: columns of kind {sorted(unknown)} are not known here")
    sample = manifest["sample"]
    return Starter(
        manifest["name"],
        rows,
        tensors,
        [output["name"] for output in manifest["outputs"]],
        np.array(sample["predictions"]),
        sample["rtol"],
        np.array(sample["atol"]),
    )


def refused(call: Any, *words: str) -> None:
    """Refuse a call that is answered, or whose refusal says something else."""
    try:
        answer = call()
    except Exception as error:  # every client has an own one
        told = str(error)
        if not any(word in told for word in words):
            sys.exit(f"a refusal must say one of {words}, however: {told}")
        return
    sys.exit(f"a call must be refused, however it is answered with {answer!r}")


def tell(client: str, n_calls: int) -> None:
    """Say what held."""
    sys.stdout.write(f"{client}: {n_calls} calls as they must be\n")
