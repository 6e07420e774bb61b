"""The manifest: the only contract between training and serving.

`manifest.json` stands beside `model.onnx` in every published model. It names the model's inputs and outputs in the
user's own units, the ranges seen in training, the graph's tensors and checksum, and what was measured.

The graph's tensors follow from the manifest and have fixed names:

| Tensor | Shape | Type | Holds |
|---|---|---|---|
| `numeric` | (batch, d_numeric) | the graph's dtype | numbers and dates in manifest order, missing values as NaN |
| `categorical` | (batch, d_categorical) | string | category columns in manifest order, missing values as "" |
| `tokens` | (batch, length) | int64 | a text column's tokens, as positions in its vocabulary |
| `steps` | (batch, length, d_numbers) | the graph's dtype | a column of steps, their numbers in manifest order |
| `images` | (batch, length, height, width) | float32 | a column of images, 0 for black and 1 for white |
| `predictions` | (batch, d_outputs) | the graph's dtype | outputs in manifest order |

A tensor with no columns is left out of the graph. A model that takes sequences has exactly one of `tokens`, `steps` and
`images`; its length is a free axis, at least 1, and the same for all rows of a batch. `models.contract.trust` names the
tensors of a model that tells how far it is to be trusted.
"""

import json
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, ValidationError, model_validator

from models.contract.certificate import Certificate
from models.contract.columns import CategoryColumn, NumberColumn, OutputColumn
from models.contract.dates import DateColumn
from models.contract.errors import ManifestError, ManifestVersionError
from models.contract.formula import Formula
from models.contract.part import ColumnName, Domain, Dtype, Finite, Part
from models.contract.sequences import ImagesColumn, SequenceColumn, StepsColumn, TextColumn
from models.contract.trust import Importance, Intervals, JointRange, OutputTerms

__all__ = [
    "CATEGORICAL_TENSOR",
    "DATES_FORMAT_VERSION",
    "FORMAT_VERSION",
    "IMAGES_TENSOR",
    "MAX_MANIFEST_BYTES",
    "NUMERIC_TENSOR",
    "PREDICTIONS_TENSOR",
    "SEQUENCE_FORMAT_VERSION",
    "STEPS_TENSOR",
    "TOKENS_TENSOR",
    "TRUST_FORMAT_VERSION",
    "CategoryColumn",
    "Certificate",
    "Column",
    "ColumnName",
    "DateColumn",
    "Domain",
    "Dtype",
    "Finite",
    "Formula",
    "Graph",
    "ImagesColumn",
    "ModelManifest",
    "NumberColumn",
    "OutputColumn",
    "Provenance",
    "Sample",
    "SequenceColumn",
    "StepsColumn",
    "TextColumn",
    "Value",
    "parse_manifest",
    "row_format_version",
    "tensor_numbers",
]

FORMAT_VERSION: Final = 1
"""Version of the manifest format that this release writes for models of rows."""

SEQUENCE_FORMAT_VERSION: Final = 2
"""Version that it writes for models of sequences. A release that knows version 1 alone would take such a manifest for a
broken one; so it is told that it is too old."""

DATES_FORMAT_VERSION: Final = 3
"""Version that it writes, for the same reason, for models of rows that take dates or answer levels never seen."""

TRUST_FORMAT_VERSION: Final = 4
"""Version that it writes, likewise, where a model carries a joint range, intervals, terms, importance or a leaderboard;
the newest it reads."""

MAX_MANIFEST_BYTES = 4 * 1024 * 1024
"""Largest manifest read; 10,000 columns with 100 categories each stay well below."""

NUMERIC_TENSOR = "numeric"
CATEGORICAL_TENSOR = "categorical"
TOKENS_TENSOR = "tokens"
STEPS_TENSOR = "steps"
IMAGES_TENSOR = "images"
PREDICTIONS_TENSOR = "predictions"


Column = Annotated[
    NumberColumn | CategoryColumn | DateColumn | TextColumn | StepsColumn | ImagesColumn, Field(discriminator="kind")
]


class Graph(Part):
    """The ONNX file that the manifest vouches for.

    Attributes:
        sha256: Checksum of `model.onnx`, lower-case hexadecimal.
        n_bytes: Its size.
        dtype: Floating-point type of its numeric tensors.
        opset: Version of the default operator set.
        ir_version: Version of the ONNX intermediate representation.
    """

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    n_bytes: Annotated[int, Field(gt=0)]
    dtype: Dtype
    opset: Annotated[int, Field(ge=1)]
    ir_version: Annotated[int, Field(ge=1)]


Value = Finite | str | None | tuple[str, ...] | tuple[tuple[Finite, ...], ...]
"""One value of a row: a number, a level or a text, a missing value, PNG images in base64, or steps of numbers."""


class Sample(Part):
    """Rows and the predictions that the published graph gave for them; the service answers them before it is ready.

    Attributes:
        rows: Input rows as records; None is a missing value.
        predictions: One list of outputs per row, in output order.
        rtol: Largest relative difference accepted.
        atol: Largest absolute difference accepted, per output.
    """

    rows: tuple[dict[str, Value], ...] = Field(min_length=1, max_length=100)
    predictions: tuple[tuple[Finite, ...], ...]
    rtol: Annotated[float, Field(gt=0)]
    atol: tuple[Annotated[float, Field(ge=0)], ...]


class Provenance(Part):
    """Where the model comes from.

    Attributes:
        task: Operation or table it was trained on, such as "arithmetic multiply" or "table steel.csv".
        n_rows: Rows it was fitted on.
        data_sha256: Checksum of the training data, or None where the data is code.
        seed: Seed of the run.
        created: UTC time of publication, ISO 8601; None in starter models, so that they can be re-made byte for byte.
        versions: Releases of the libraries that took part.
        note: What a reader must know, for example that the data is synthetic.
    """

    task: str
    n_rows: Annotated[int, Field(gt=0)]
    data_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    seed: int
    created: str | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    note: str | None = None


class ModelManifest(Part):
    """What a published model takes, gives, was trained on and was measured at.

    Attributes:
        format_version: Version of this format: 2 where the model takes sequences, 3 where it takes dates or answers
            levels never seen, 4 where it carries a joint range, intervals, terms, importance or a leaderboard, 1
            elsewhere.
        name: Model name, as in its path.
        version: Model version, as in its path.
        kind: "arithmetic", "tabular" or "sequence".
        description: One sentence for people.
        inputs: Input columns, in the order of the graph's tensors (numbers and categories each keep their order).
        outputs: Output columns, in the order of the graph's output.
        graph: The ONNX file.
        formula: What the network computes, where it is short enough to read.
        certificate: Proof that it computes a law exactly, or None.
        joint_range: Which rows are like the training rows in all columns together, or None where ranges say it alone.
        companion: The graph that gives difficulty and terms, or None.
        intervals: Prediction intervals, or None.
        terms: Terms of each output's trunk, or None.
        importance: How much each column matters, the most first; empty where it was not measured.
        leaderboard: Root mean squared errors, by region, then model, then output; None where one overflowed.
        metrics: Error measured, by region ("inside", "outside"), then output, then metric.
        parity: Largest relative difference measured, by comparison ("torch", "numpy").
        provenance: Where the model comes from.
        sample: Rows to answer before the model is ready.
    """

    format_version: Literal[1, 2, 3, 4] = FORMAT_VERSION
    name: str
    version: Annotated[int, Field(ge=1)]
    kind: Literal["arithmetic", "tabular", "sequence"]
    description: str
    inputs: tuple[Column, ...] = Field(min_length=1)
    outputs: tuple[OutputColumn, ...] = Field(min_length=1)
    graph: Graph
    formula: Formula | None = None
    certificate: Certificate | None = None
    joint_range: JointRange | None = None
    companion: Graph | None = None
    intervals: Intervals | None = None
    terms: tuple[OutputTerms, ...] | None = None
    importance: tuple[Importance, ...] = ()
    leaderboard: dict[str, dict[str, dict[str, Finite | None]]] = Field(default_factory=dict)
    metrics: dict[str, dict[str, dict[str, Finite]]] = Field(default_factory=dict)
    parity: dict[str, Finite] = Field(default_factory=dict)
    provenance: Provenance
    sample: Sample

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        for what, names in (
            ("input", [column.name for column in self.inputs]),
            ("number", [column.name for column in self.numbers]),
            ("output", [column.name for column in self.outputs]),
        ):
            if len(set(names)) != len(names):
                msg = f"{what} names must be distinct, however one is repeated among {names}"
                raise ValueError(msg)
        if len(self.sample.predictions) != len(self.sample.rows):
            msg = (
                f"sample must hold one prediction per row, however: {len(self.sample.predictions)} predictions "
                f"for {len(self.sample.rows)} rows"
            )
            raise ValueError(msg)
        for row in (*self.sample.predictions, self.sample.atol):
            if len(row) != len(self.outputs):
                msg = f"sample rows must have {len(self.outputs)} outputs, however one has {len(row)}"
                raise ValueError(msg)
        if self.certificate is not None:
            self._check_certificate(self.certificate)
        self._check_sequences()
        self._check_trust()
        return self

    def _check_trust(self) -> None:
        parts = {
            "joint_range": None if self.joint_range is None else len(self.joint_range.answers),
            "intervals": None if self.intervals is None else len(self.intervals.outputs),
            "terms": None if self.terms is None else len(self.terms),
            **{f"importance of {one.column!r}": len(one.rise) for one in self.importance},
        }
        there = {name: n for name, n in parts.items() if n is not None}
        if (there or self.companion or self.leaderboard) and self.format_version < TRUST_FORMAT_VERSION:
            msg = (
                f"{', '.join(there) or 'a leaderboard'} must stand in format version {TRUST_FORMAT_VERSION} or later, "
                f"however: {self.format_version}"
            )
            raise ValueError(msg)
        for name, n_outputs in there.items():
            if n_outputs != len(self.outputs):
                msg = f"{name} must speak of all {len(self.outputs)} outputs, however of {n_outputs}"
                raise ValueError(msg)
        if ("intervals" in there or "terms" in there) != (self.companion is not None):
            msg = "a companion must be there where intervals or terms are, and only there, however it is not so"
            raise ValueError(msg)

    def _check_sequences(self) -> None:
        least = row_format_version(self.inputs)
        if self.format_version < least:
            msg = (
                f"a model that takes dates or answers levels never seen must have format version {least} or later, "
                f"however: {self.format_version}"
            )
            raise ValueError(msg)
        n_sequences = sum(isinstance(column, SequenceColumn) for column in self.inputs)
        if n_sequences and len(self.inputs) > 1:
            msg = f"a column of sequences must be the only input, however there are {len(self.inputs)}"
            raise ValueError(msg)
        if bool(n_sequences) != (self.kind == "sequence"):
            msg = (
                "a model must take sequences where it is of kind 'sequence', and only there, however: "
                f"kind {self.kind!r}, input of kind {self.inputs[0].kind!r}"
            )
            raise ValueError(msg)
        if n_sequences and self.format_version < SEQUENCE_FORMAT_VERSION:
            msg = (
                f"a model of sequences must have format version {SEQUENCE_FORMAT_VERSION} or later, "
                f"however: {self.format_version}"
            )
            raise ValueError(msg)
        if n_sequences and self.certificate is not None:
            msg = "a certificate must speak for a law of numbers, however the model takes sequences"
            raise ValueError(msg)

    def _check_certificate(self, certificate: Certificate) -> None:
        names = [column.name for column in self.inputs]
        if [one.name for one in certificate.inputs] != names:
            msg = f"a certificate must speak for the model's inputs, in order, however those are {names}"
            raise ValueError(msg)
        if certificate.dtype != self.graph.dtype:
            msg = f"a certificate must be of the graph's type, however: {certificate.dtype} and {self.graph.dtype}"
            raise ValueError(msg)

    @property
    def numbers(self) -> tuple[NumberColumn, ...]:
        """Number columns and the numbers of dates, in the order of the `numeric` tensor."""
        return tensor_numbers(self.inputs)

    @property
    def categories(self) -> tuple[CategoryColumn, ...]:
        """Category columns, in the order of the `categorical` tensor."""
        return tuple(column for column in self.inputs if isinstance(column, CategoryColumn))

    @property
    def sequence(self) -> SequenceColumn | None:
        """The column of sequences, or None where the model takes rows of numbers and categories."""
        return next((column for column in self.inputs if isinstance(column, SequenceColumn)), None)

    def to_json(self) -> bytes:
        """Return the manifest as UTF-8 JSON, indented, ending in a newline."""
        return (self.model_dump_json(indent=2) + "\n").encode()


def tensor_numbers(inputs: Sequence[Column]) -> tuple[NumberColumn, ...]:
    """Return the columns of the `numeric` tensor: number columns, and for each date its numbers in its place."""
    numbers: list[NumberColumn] = []
    for column in inputs:
        if isinstance(column, NumberColumn):
            numbers.append(column)
        elif isinstance(column, DateColumn):
            numbers += column.numbers
    return tuple(numbers)


def row_format_version(inputs: Sequence[Column]) -> int:
    """Return the oldest version of the format that can say what a model of rows takes."""
    new = any(
        isinstance(column, DateColumn) or (isinstance(column, CategoryColumn) and column.unseen != "refuse")
        for column in inputs
    )
    return DATES_FORMAT_VERSION if new else FORMAT_VERSION


def parse_manifest(raw: bytes) -> ModelManifest:
    """Read a manifest from its bytes.

    Args:
        raw: Content of `manifest.json`.

    Raises:
        ManifestVersionError: When it was written in a newer format.
        ManifestError: When it is too large, is not JSON or does not hold together.
    """
    if len(raw) > MAX_MANIFEST_BYTES:
        msg = f"a manifest must not exceed {MAX_MANIFEST_BYTES} bytes, however it has {len(raw)}"
        raise ManifestError(msg)
    try:
        content: Any = json.loads(raw)
    except (ValueError, RecursionError) as error:
        msg = f"a manifest must be JSON, however it is not ({type(error).__name__}); publish the model again"
        raise ManifestError(msg) from error
    written = content.get("format_version") if isinstance(content, dict) else None
    if not isinstance(written, int) or isinstance(written, bool):
        msg = "a manifest must carry an integer format_version, however it does not; publish the model again"
        raise ManifestError(msg)
    if written > TRUST_FORMAT_VERSION:
        msg = (
            f"this release reads manifests up to format version {TRUST_FORMAT_VERSION}, "
            f"however this one has {written}; serve it with a newer release of nalu-serving"
        )
        raise ManifestVersionError(msg)
    try:
        return ModelManifest.model_validate(content)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc']) or 'manifest'}: {fault['msg']}"
            for fault in error.errors(include_input=False, include_url=False)[:5]
        )
        msg = f"a manifest must follow format version {written}, however: {faults}"
        raise ManifestError(msg) from error
