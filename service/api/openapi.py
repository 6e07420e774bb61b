"""What the OpenAPI document holds beyond what FastAPI finds by itself."""

from collections.abc import Callable, Iterable
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from service.api.negotiation import MEDIA_TYPES
from service.api.open_inference.schemas import InferRequestBody, RepositoryRequestBody
from service.api.problems import CONTENT_TYPE, PROBLEMS, is_foreign, listed_types
from service.api.schemas import (
    ChosenVersion,
    PredictRecordsAnswer,
    PredictRecordsRequest,
    PredictSplitAnswer,
    PredictSplitRequest,
    ProblemAnswer,
)
from service.errors import ForbiddenError, HeadTooLargeError, RateLimitedError, SlowRequestError, UnauthorizedError

HEALTH_PATHS = frozenset({"/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready", "/ping", "/health"})
"""Open to all: whoever restarts and balances has no key, and learns nothing but whether there is a service."""

_REF = "#/components/schemas/{model}"
_BY_HAND: tuple[type[BaseModel], ...] = (
    PredictRecordsRequest,
    PredictSplitRequest,
    PredictRecordsAnswer,
    PredictSplitAnswer,
    ProblemAnswer,
    InferRequestBody,
    RepositoryRequestBody,
    ChosenVersion,
)
"""Schemas of bodies that the routes read and write themselves."""


def _content(*forms: tuple[str, type[BaseModel]]) -> dict[str, Any]:
    """Return the content object of a JSON body in one of several forms, with the example of each."""
    examples = {
        name: {"summary": form.__doc__, "value": form.model_json_schema()["examples"][0]} for name, form in forms
    }
    schemas = [{"$ref": _REF.format(model=form.__name__)} for _name, form in forms]
    return {"application/json": {"schema": {"anyOf": schemas}, "examples": examples}}


def json_content(form: type[BaseModel]) -> dict[str, Any]:
    """Return the content object of a body in JSON."""
    schema = {"$ref": _REF.format(model=form.__name__)}
    return {"application/json": {"schema": schema, "example": form.model_json_schema()["examples"][0]}}


def json_or_bytes_content(form: type[BaseModel]) -> dict[str, Any]:
    """Return the content object of a body in JSON, perhaps with bytes behind it."""
    return {**json_content(form), "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}


def json_object_content(forms: Iterable[str], example: dict[str, Any]) -> dict[str, Any]:
    """Return the content object of a JSON object that has exactly one of some members.

    Args:
        forms: Names of the members.
        example: One of them.
    """
    schema = {"type": "object", "oneOf": [{"required": [form]} for form in forms]}
    return {"application/json": {"schema": schema, "example": example}}


_STROKE = (
    "iVBORw0KGgoAAAANSUhEUgAAABwAAAAcCAAAAABXZoBIAAAAGklEQVR4nGNgGLrg/38ULhM+taOSg1FyaAEADSwCHQ3UhIgAAAAASUVORK5CYII="
)
"""A vertical stroke of 28 × 28 pixels."""

SEQUENCE_EXAMPLES: dict[str, Any] = {
    "text": {
        "summary": "Texts, for a model that takes a text.",
        "value": {"model": "number-words", "rows": [{"text": "three hundred and twelve"}, {"text": "forty-five"}]},
    },
    "steps": {
        "summary": "Steps of numbers, as lists in the model's order or as objects.",
        "value": {"model": "recurrent", "rows": [{"steps": [[0.5, 1.0], [0.25, 2.0]]}, {"steps": [{"a": 1, "b": 0}]}]},
    },
    "images": {
        "summary": "Images, as grey PNG in base64 or as rows of pixels.",
        "value": {"model": "digit-sum", "rows": [{"images": [_STROKE, _STROKE]}]},
    },
}
"""Requests to models of sequences; columns and models are named here as their publisher named them."""

PREDICT_REQUEST_CONTENT = _content(("records", PredictRecordsRequest), ("split", PredictSplitRequest))
PREDICT_REQUEST_CONTENT["application/json"]["examples"] |= SEQUENCE_EXAMPLES
PREDICT_ANSWER_CONTENT = _content(("records", PredictRecordsAnswer), ("split", PredictSplitAnswer))
for _content_of, _csv in (
    (PREDICT_REQUEST_CONTENT, "a,b\n3,5\n2,7\n"),
    (PREDICT_ANSWER_CONTENT, "y,in_range\n15,true\n14,true\n"),
):
    _content_of[MEDIA_TYPES["csv"]] = {"schema": {"type": "string"}, "example": _csv}
    _content_of[MEDIA_TYPES["arrow"]] = {"schema": {"type": "string", "format": "binary"}}

PREDICT_PARAMETERS: list[dict[str, Any]] = [
    {
        "name": name,
        "in": "query",
        "required": False,
        "description": f"For a table: {description}",
        "schema": schema,
    }
    for name, description, schema in (
        ("model", "name of the model; always needed.", {"type": "string", "minLength": 1, "maxLength": 100}),
        ("version", "version of the model; the active one by default.", {"type": "integer", "minimum": 1}),
        (
            "interval",
            "level of prediction intervals, which come in columns of their own.",
            {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        ),
    )
]
"""A request in JSON names all that in its body."""


_SECURITY: dict[str, Any] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, as `Authorization: Bearer KEY`."},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key in a header."},
}


class DocumentedFastAPI(FastAPI):
    """FastAPI whose OpenAPI document holds the schemas that routes refer to by hand, and no answer never given.

    Attributes:
        needs_key: Which paths are answered only to a request with a key; none where the service takes no keys.
    """

    needs_key: Callable[[str], bool] = staticmethod(lambda _path: False)

    def openapi(self) -> dict[str, Any]:
        """Return the document, made once."""
        if self.openapi_schema is None:
            document = super().openapi()
            _, definitions = models_json_schema([(schema, "validation") for schema in _BY_HAND], ref_template=_REF)
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            schemas.update(definitions["$defs"])
            _drop_validation_errors(document["paths"], schemas)
            document["components"]["securitySchemes"] = _SECURITY
            for path, operations in document["paths"].items():
                for operation in operations.values():
                    _tell_of_keys(path, operation, needed=self.needs_key(path))
        return super().openapi()


def _tell_of_keys(path: str, operation: dict[str, Any], *, needed: bool) -> None:
    """Document what the guard of all routes answers, also where this service runs without keys, except on health."""
    if path in HEALTH_PATHS:
        return
    operation["security"] = [{name: []} for name in _SECURITY] if needed else [{}]
    for kind in (UnauthorizedError, ForbiddenError, SlowRequestError, RateLimitedError, HeadTooLargeError):
        problem = PROBLEMS[kind]
        answer, media_type = (
            ("ProtocolError", "application/json") if is_foreign(path) else ("ProblemAnswer", CONTENT_TYPE)
        )
        operation["responses"][str(problem.status)] = {
            "description": listed_types([problem]),
            "content": {media_type: {"schema": {"$ref": _REF.format(model=answer)}}},
        }


def _drop_validation_errors(paths: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Leave out the framework's own answer to a faulty path: ours is a problem, or the protocol's error."""
    own = {"$ref": _REF.format(model="HTTPValidationError")}
    for path in paths.values():
        for operation in path.values():
            responses = operation["responses"]
            if responses.get("422", {}).get("content", {}).get("application/json", {}).get("schema") == own:
                del responses["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
