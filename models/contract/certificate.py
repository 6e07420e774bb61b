"""The manifest's exactness certificate: what proves that a model computes a law, and where it does."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from models.contract.part import ColumnName, Domain, Dtype, Finite, Part

NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Row = tuple[Finite, ...]


class LawLayer(Part):
    """One layer of a law.

    Attributes:
        kind: "sum" for Wx + b, "power" for products of powers.
        weight: Weights or powers, one row per output of the layer.
        bias: Constants of a sum, or None.
    """

    kind: Literal["sum", "power"]
    weight: Annotated[tuple[Row, ...], Field(min_length=1)]
    bias: Row | None = None


class CertifiedRegion(Part):
    """Rows on which the published graph was compared with arbitrary precision.

    Attributes:
        factor: Multiple of the training range that rows were drawn from, half of them with signs of their own.
        n_rows: Rows compared.
        max_relative_error: Largest error relative to the exact result; None where there are no rows.
        max_share_of_bound: Largest error relative to the stated bound; None where there are no rows.
    """

    factor: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    n_rows: Annotated[int, Field(ge=0)]
    max_relative_error: NotNegative | None
    max_share_of_bound: Share | None


class CertifiedInput(Part):
    """Values of one input that the certificate speaks for.

    Attributes:
        name: Column name.
        domain: Values with an answer, or None for all.
        seen: Signs that the training rows had.
        holds_for: The same in words.
    """

    name: ColumnName
    domain: Domain | None = None
    seen: Literal["positive", "negative", "both"]
    holds_for: str


class Evidence(Part):
    """The rows that a law was found in.

    Attributes:
        n_rows: How many.
        noise: Spread of their labels around the law; 0 where they agree with it to rounding.
        outlier_share: Share of them that the law does not explain.
    """

    n_rows: Annotated[int, Field(gt=0)]
    noise: NotNegative
    outlier_share: Share


class Certificate(Part):
    """Proof that a model computes a law exactly, measured on the graph as it is served.

    Attributes:
        dtype: Floating-point type in which it was measured.
        seed: Seed of the search.
        raw: Layers as fitted.
        snapped: The same with simple weights: what the graph computes.
        sparsity_error_before: Largest distance of a fitted weight from a simple value.
        sparsity_error_after: The same after snapping.
        regions: Comparisons with arbitrary precision, from the training range outwards.
        bound: What every error was held against, in words.
        evidence: The rows that the law was found in.
        inputs: Values that it speaks for, by input.
        conditions: What must hold beyond that, such as "a - b != 0".
        magnitudes: Smallest and largest magnitude of inputs that are not 0 for which nothing over- or underflows.
    """

    dtype: Dtype
    seed: int
    raw: Annotated[tuple[LawLayer, ...], Field(min_length=1)]
    snapped: Annotated[tuple[LawLayer, ...], Field(min_length=1)]
    sparsity_error_before: NotNegative
    sparsity_error_after: NotNegative
    regions: Annotated[tuple[CertifiedRegion, ...], Field(min_length=1)]
    bound: str
    evidence: Evidence
    inputs: Annotated[tuple[CertifiedInput, ...], Field(min_length=1)]
    conditions: tuple[str, ...] = ()
    magnitudes: tuple[NotNegative, NotNegative]

    @model_validator(mode="after")
    def _measured(self) -> Self:
        inside = self.regions[0]
        if not inside.n_rows or inside.max_share_of_bound is None:
            msg = "a certificate must have been measured inside the training range, however it has no rows there"
            raise ValueError(msg)
        if self.magnitudes[0] > self.magnitudes[1]:
            msg = f"magnitudes must go up, however: {self.magnitudes[0]:g} to {self.magnitudes[1]:g}"
            raise ValueError(msg)
        return self
