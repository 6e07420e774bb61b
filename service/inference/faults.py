"""Collects what is wrong with an input, as much of it as an answer lists."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from service.errors import MAX_FAULTS, Fault, InputShapeError, InvalidRequestError


class Faults:
    """Collects faults, keeping the first `MAX_FAULTS` and counting all."""

    def __init__(self) -> None:
        self.listed: list[Fault] = []
        self.n_faults = 0

    @property
    def full(self) -> bool:
        """Whether looking for more only costs time."""
        return len(self.listed) == MAX_FAULTS

    def add(self, message: str, column: str | None = None, row: int | None = None) -> None:
        """Add one fault."""
        self.add_fault(Fault(message, column, row))

    def add_fault(self, fault: Fault) -> None:
        """Add one fault that is there already."""
        self.n_faults += 1
        if len(self.listed) < MAX_FAULTS:
            self.listed.append(fault)

    def add_rows(self, message: str, column: str, rows: NDArray[np.intp]) -> None:
        """Add the same fault of several rows."""
        for row in rows[:MAX_FAULTS]:
            self.add(message, column, int(row))
        self.n_faults += max(0, len(rows) - MAX_FAULTS)

    def refuse(self, error: type[InputShapeError] | type[InvalidRequestError]) -> None:
        """Raise what was collected, if anything was."""
        if self.listed:
            raise error(self.listed, self.n_faults)


def kind_of(value: object) -> str:
    """Return what a value is, in words for the person who sent it."""
    if value is None:
        return "missing"
    if isinstance(value, str):
        return "text"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    return f"of type {type(value).__name__}"
