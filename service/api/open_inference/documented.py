"""What the routes of the protocol share: their paths, and what the OpenAPI document says of their errors."""

from typing import Annotated, Any, Final

from fastapi import Path

from service.api.open_inference.schemas import ProtocolError
from service.api.problems import PROBLEMS, foreign_status, listed_types

PREFIX: Final = "/v2"

PathVersion = Annotated[str, Path(max_length=20)]


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the documentation of the errors that a route answers with."""
    documented: dict[int | str, dict[str, Any]] = {}
    for status in statuses:
        kinds = [problem for problem in PROBLEMS.values() if foreign_status(problem.status) == status]
        documented[status] = {"model": ProtocolError, "description": listed_types(kinds)}
    return documented
