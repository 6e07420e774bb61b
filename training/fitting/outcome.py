"""What a search for an exact law ends in."""

from dataclasses import dataclass

from training.fitting.law import Law


@dataclass(frozen=True)
class CandidateReport:
    """One structure tried.

    Attributes:
        structure: Its name.
        stage: "exact" for agreement to rounding, "noisy" for agreement up to noise in the labels.
        law: The best law of it, snapped; None where there is no fit.
        held_out_error: Median relative error of that law on held-out rows; None where there is no fit.
        verdict: What became of it, in a few words.
        n_restarts: Starts of fits with local minima.
        n_iterations: Steps of their batches.
        duration_s: Seconds it took.
    """

    structure: str
    stage: str
    law: Law | None
    held_out_error: float | None
    verdict: str
    n_restarts: int
    n_iterations: int
    duration_s: float


@dataclass(frozen=True)
class SearchReport:
    """What a search did.

    Attributes:
        candidates: Every structure tried, in order.
        n_fit_rows: Rows that fits saw.
        n_held_out_rows: Rows that choices were made by.
        duration_s: Seconds of the whole search.
    """

    candidates: tuple[CandidateReport, ...]
    n_fit_rows: int
    n_held_out_rows: int
    duration_s: float


@dataclass(frozen=True)
class Found:
    """A law.

    Where labels agree with it to rounding (`noise` is 0), every row is a proof. With noise there is none: the law is
    then the simplest formula that the rows cannot tell from the truth, with odds of 20 against all others tried. A term
    much smaller than the noise is not seen, and a sine of small numbers passes for its argument.

    Attributes:
        raw: Weights as fitted.
        snapped: Weights on the grid of simple values.
        noise: Spread of the labels around the law: 0 where they agree with it to rounding; otherwise relative to each
            result, or to the median result where the noise is additive.
        outlier_share: Share of the rows that the law does not explain.
        report: What the search did.
    """

    raw: Law
    snapped: Law
    noise: float
    outlier_share: float
    report: SearchReport

    @property
    def proven(self) -> bool:
        """Whether labels agree with the law to rounding, outliers excepted: only then may it have a certificate."""
        return self.noise == 0


@dataclass(frozen=True)
class NotFound:
    """No exact law.

    Attributes:
        ordinary: The best ordinary fit by held-out rows, with weights as fitted: no more than an approximation.
        reason: Why nothing was found.
        report: What the search did.
    """

    ordinary: Law
    reason: str
    report: SearchReport
