"""What requests and answers look like."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema

from models.contract.manifest import Certificate, Column, Formula, ModelManifest, OutputColumn, Provenance
from models.contract.names import MAX_NAME, NAME
from models.contract.trust import Importance, Intervals, JointRange, OutputTerms
from service.errors import Fault, InvalidRequestError, quote

F = TypeVar("F", bound=BaseModel)

MAX_VERSION = 999_999_999

Value = Annotated[Any, WithJsonSchema({"type": ["number", "string", "array", "null"]})]
"""One value of a row. Its type is checked against the model's manifest, where the fault can name row and column."""

ModelName = Annotated[str, Field(description="Name of the model.", min_length=1, max_length=100)]
VersionNumber = Annotated[
    Annotated[int, Field(ge=1, le=MAX_VERSION)] | Annotated[str, Field(max_length=MAX_NAME, pattern=f"^{NAME}$")],
    Field(description="Version of the model, an alias of one, or `latest`; the active one by default."),
]

Interval = Annotated[
    float | None,
    Field(
        description="Level of prediction intervals, such as 0.9: the share of rows like the training rows whose target "
        "lies within. Outside the training range it is not guaranteed.",
        gt=0,
        lt=1,
        allow_inf_nan=False,
    ),
]
Explain = Annotated[bool, Field(description="Whether to tell, row by row, the terms that a prediction is the sum of.")]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class PredictRecordsRequest(_Request):
    """Rows as one object each."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"model": "multiply", "rows": [{"a": 3, "b": 5}, {"a": 2, "b": 7}]}]}
    )

    model: ModelName
    version: VersionNumber | None = None
    interval: Interval = None
    explain: Explain = False
    rows: list[dict[str, Value]] = Field(description="Column name → value, null for a missing value; at least one row.")


class PredictSplitRequest(_Request):
    """Column names once, then rows as lists of values in that order."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"model": "multiply", "columns": ["a", "b"], "data": [[3, 5], [2, 7]]}]}
    )

    model: ModelName
    version: VersionNumber | None = None
    interval: Interval = None
    explain: Explain = False
    columns: list[str] = Field(description="Column names, each once, in any order.")
    data: list[list[Value]] = Field(description="One list of values per row, null for a missing value.")


PredictRequest = PredictRecordsRequest | PredictSplitRequest


class ChosenVersion(_Request):
    """A version of a model."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"version": 2}]})

    version: VersionNumber


class Explanation(_Answer):
    """What a prediction is the sum of."""

    constant: float = Field(
        description="What the trunk answers where every term is 0: in a sum of columns at their means, in a power law "
        "at their geometric means."
    )
    terms: dict[str, float] = Field(description="What each column, or product of columns, adds to it.")
    held: float = Field(description="What the trunk was held back by, far outside the training range; else 0.")
    residual: float = Field(description="What the boosted trees and networks add.")


class PredictRecordsAnswer(_Answer):
    """Predictions as one object per row, in the order of the request."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"model": "multiply", "version": 1, "predictions": [{"y": 15.0}, {"y": 14.0}], "in_range": [True, True]}
            ]
        }
    )

    model: str
    version: int = Field(description="The version that answered.")
    predictions: list[dict[str, float]]
    in_range: list[bool] = Field(
        description="Per row: whether every number, and the length of a sequence, lies in the range seen in training "
        "and, where the model has a joint range, the row and its prediction are like those seen there. "
        "Outside, the model extrapolates; a missing value counts as inside."
    )
    interval: float | None = Field(default=None, description="The level asked for; this and the next two, if it was.")
    lower: list[dict[str, float]] | None = Field(default=None, description="Lower ends of the prediction intervals.")
    upper: list[dict[str, float]] | None = Field(default=None, description="Upper ends.")
    explanations: list[dict[str, Explanation]] | None = Field(
        default=None, description="Output → what its prediction is the sum of, if that was asked for."
    )


class PredictSplitAnswer(_Answer):
    """Predictions as lists of values in the order of `columns`, which are the model's outputs."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "multiply",
                    "version": 1,
                    "columns": ["y"],
                    "data": [[15.0], [14.0]],
                    "in_range": [True, True],
                }
            ]
        }
    )

    model: str
    version: int
    columns: list[str]
    data: list[list[float]]
    in_range: list[bool]
    interval: float | None = None
    lower: list[list[float]] | None = None
    upper: list[list[float]] | None = None
    explanations: list[dict[str, Explanation]] | None = None


class ModelEntry(_Answer):
    """A model, in brief."""

    name: str
    latest: int = Field(description="The newest version published.")
    active: int | None = Field(description="The version that answers when none is named; null where none is loaded.")
    pinned: int | None = Field(description="The version chosen to answer; null where it is the newest that can.")
    versions: list[int] = Field(description="Versions that can answer.")
    idle: list[int] = Field(description="Versions that are published and not loaded: older ones, or all of a model.")
    failed: dict[int, str] = Field(description="Versions that could not be loaded, each with the reason.")
    aliases: dict[str, int] = Field(description="Names that may stand for a version in a request.")
    generation: int = Field(description="Changes so far of what is chosen, as far as this worker has followed.")
    description: str | None = Field(description="One sentence; null where no version answers by default.")


class ModelList(_Answer):
    """Every model of this service."""

    models: list[ModelEntry]


Card = Annotated[str | None, Field(description="Path of its model card, a page for people; null where it has none.")]


class ModelSummary(ModelEntry):
    """A model, with the signature of the version that answers by default."""

    inputs: list[Column] | None = Field(description="What it takes; null where no version answers by default.")
    outputs: list[OutputColumn] | None = Field(description="What it gives; likewise.")
    example: dict[str, Any] | None = Field(description="A request body for POST /predict; likewise.")
    card: Card


class ModelDetail(_Answer):
    """What a version takes, gives, was trained on and was measured at."""

    name: str
    version: int
    kind: Literal["arithmetic", "tabular", "sequence"]
    description: str
    inputs: list[Column]
    outputs: list[OutputColumn]
    dtype: str
    formula: Formula | None = Field(description="What it computes, as text, LaTeX and terms; null where that is long.")
    certificate: Certificate | None = Field(
        description="What proves that it computes a law exactly, and where; null where it does not."
    )
    joint_range: JointRange | None = Field(
        description="Which rows are like the training rows in all columns together; null where ranges say it alone."
    )
    intervals: Intervals | None = Field(description="Prediction intervals, by level; null where it has none.")
    terms: list[OutputTerms] | None = Field(description="What `explain` gives for each output; null where it cannot.")
    importance: list[Importance] = Field(
        description="How much worse it gets when a column is shuffled, the most first."
    )
    leaderboard: dict[str, dict[str, dict[str, float | None]]] = Field(
        description="Root mean squared errors by region, then model, then output."
    )
    metrics: dict[str, dict[str, dict[str, float]]]
    parity: dict[str, float]
    provenance: Provenance
    sha256: str = Field(description="Checksum of the ONNX file.")
    provider: str = Field(description="Execution provider that it runs on here.")
    example: dict[str, Any] = Field(description="A request body for POST /predict.")
    card: Card


class Live(_Answer):
    """The process answers."""

    status: Literal["live"] = "live"


class Ready(_Answer):
    """Whether predictions are to be had."""

    status: Literal["ready", "not-ready"]
    reasons: list[str] = Field(description="Why not; empty when ready.")
    notices: list[str] = Field(
        default=[], description="What is wrong though every model answers, such as a version that was not loaded."
    )


class ProblemFault(_Answer):
    """One fault of the input; rows are counted from 0."""

    message: str
    row: int | None = None
    column: str | None = None


class ProblemAnswer(_Answer):
    """An error (RFC 9457)."""

    type: str = Field(description="Name of the class of error, stable.")
    title: str
    status: int
    detail: str
    errors: list[ProblemFault] | None = Field(default=None, description="Faults of the input, the first twenty.")
    n_errors: int | None = Field(default=None, description="How many faults were found.")
    request_id: str | None


def read_form(form: type[F], content: object) -> F:
    """Return the request of a form in a JSON value.

    Raises:
        InvalidRequestError: When it does not follow the form.
    """
    try:
        return form.model_validate(content)
    except ValidationError as error:
        faults = error.errors(include_input=False, include_url=False, include_context=False)
        raise InvalidRequestError([Fault(f"{_path(fault['loc'])}: {fault['msg']}") for fault in faults]) from error


def read_predict_request(content: object, max_rows: int) -> PredictRequest:
    """Return the request in a JSON value; one with `rows` is in the records form.

    Raises:
        InvalidRequestError: When it follows neither form, or has more than `max_rows` rows.
    """
    form: type[PredictRecordsRequest] | type[PredictSplitRequest]
    form = PredictRecordsRequest if not isinstance(content, dict) or "rows" in content else PredictSplitRequest
    request = read_form(form, content)
    n_rows = len(request.rows if isinstance(request, PredictRecordsRequest) else request.data)
    if n_rows > max_rows:
        raise InvalidRequestError([Fault(f"a request must have at most {max_rows} rows, however it has {n_rows}")])
    return request


def detail_of(manifest: ModelManifest, provider: str, card: str | None) -> ModelDetail:
    """Return what is told about a loaded version, with the path of its card."""
    return ModelDetail(
        name=manifest.name,
        version=manifest.version,
        kind=manifest.kind,
        description=manifest.description,
        inputs=list(manifest.inputs),
        outputs=list(manifest.outputs),
        dtype=manifest.graph.dtype,
        formula=manifest.formula,
        certificate=manifest.certificate,
        joint_range=manifest.joint_range,
        intervals=manifest.intervals,
        terms=None if manifest.terms is None else list(manifest.terms),
        importance=list(manifest.importance),
        leaderboard=manifest.leaderboard,
        metrics=manifest.metrics,
        parity=manifest.parity,
        provenance=manifest.provenance,
        sha256=manifest.graph.sha256,
        provider=provider,
        example=example_request(manifest),
        card=card,
    )


def summary_of(entry: ModelEntry, active: ModelManifest | None, card: str | None) -> ModelSummary:
    """Return what is told about a model: its entry in the list, the signature of its active version, and its card."""
    return ModelSummary(
        **entry.model_dump(),
        inputs=list(active.inputs) if active else None,
        outputs=list(active.outputs) if active else None,
        example=example_request(active) if active else None,
        card=card,
    )


def example_request(manifest: ModelManifest) -> dict[str, Any]:
    """Return a request that the model answers: 3 and 5 for a product, else the first row of its sample."""
    names = [column.name for column in manifest.inputs]
    row = {"a": 3, "b": 5} if (manifest.name, names) == ("multiply", ["a", "b"]) else manifest.sample.rows[0]
    return {"model": manifest.name, "rows": [dict(row)]}


def _path(location: Sequence[str | int]) -> str:
    known = PredictRecordsRequest.model_fields.keys() | PredictSplitRequest.model_fields.keys()
    parts = [str(part) if isinstance(part, int) or part in known else quote(part) for part in location]
    return ".".join(parts) or "body"
