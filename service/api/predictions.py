"""From the bytes of a request to the bytes of its answer, whatever carries them."""

from dataclasses import dataclass

from service.api.json_body import parse_json
from service.api.schemas import PredictRecordsRequest, PredictRequest, read_predict_request
from service.api.strict_blocks import read_strictly_in_blocks
from service.api.trusted import trusted_answer
from service.inference.batches import SequenceLimits
from service.inference.encoding import Encoded, encode_records, encode_split
from service.inference.predictor import Prediction, predict
from service.inference.quick_rows import QuickReader, QuickRequest
from service.inference.registry import Registry
from service.inference.session import ModelSession
from service.inference.trust import Asked, check_offered, predict_trusted

INLINE_BODY_BYTES = 64 * 1024
"""Bodies up to here are answered on the event loop, where a small run takes 15 to 35 µs and a change of threads more;
larger ones are given a thread, so that nobody else waits for them."""


@dataclass(frozen=True, slots=True)
class StrictRequest:
    """A request as the strict reader read it, its rows not looked at yet.

    Attributes:
        session: The model that answers.
        content: The request, in the records or the split form.
    """

    session: ModelSession
    content: PredictRequest

    @property
    def is_light(self) -> bool:
        """Whether rows of a small body take so little time that they are answered on the event loop.

        A few kilobytes of sequences can be thousands of steps, or images to decompress.
        """
        return self.session.manifest.sequence is None


def read_json(registry: Registry, body: bytes, max_rows: int, *, gently: bool = False) -> StrictRequest:
    """Read a prediction request in JSON.

    Args:
        registry: The models.
        body: The request, in the records or the split form.
        max_rows: Most rows to answer.
        gently: Whether other threads shall get on while a large body is read.

    Raises:
        UnreadableBodyError: When the body is not JSON.
        InvalidRequestError: When it does not follow a form.
        ModelNotFoundError: When there is no such model or version.
        ModelNotReadyError: When the version could not be loaded.
    """
    content = read_predict_request(parse_json(body, gently=gently), max_rows)
    return StrictRequest(registry.get(content.model, content.version), content)


def answer_json(request: StrictRequest, limits: SequenceLimits, deadline_s: float | None = None) -> bytes:
    """Answer a request, in its form.

    Args:
        request: The request.
        limits: How much a model of sequences may be asked for.
        deadline_s: Time after which a run is stopped, or None for no limit.

    Raises:
        FaultyInputError: When its rows are not ones that the model can answer.
        NotOfferedError: When it asks for what the model does not have.
        InferenceError: When the run fails.
    """
    session, content = request.session, request.content
    check_offered(session.manifest, Asked(content.interval, content.explain))
    if isinstance(content, PredictRecordsRequest):
        encoded = encode_records(session.manifest, content.rows, limits)
    else:
        encoded = encode_split(session.manifest, content.columns, content.data, limits)
    return _answer_rows(session, content, encoded, deadline_s)


def _answer_rows(session: ModelSession, content: PredictRequest, encoded: Encoded, deadline_s: float | None) -> bytes:
    asked = Asked(content.interval, content.explain)
    check_offered(session.manifest, asked)
    split = not isinstance(content, PredictRecordsRequest)
    if asked.anything:
        trusted = predict_trusted(session, encoded, asked, deadline_s)
        return trusted_answer(session, trusted, asked, split=split)
    return _answer(session, predict(session, encoded, deadline_s), split=split)


def answer_large(
    quick: QuickReader,
    registry: Registry,
    body: bytes,
    max_rows: int,
    limits: SequenceLimits,
    deadline_s: float | None = None,
) -> bytes:
    """Answer a large prediction request, read in blocks."""
    request = quick.read(body)
    if request is not None:
        return answer_quick(request, deadline_s)
    read = read_strictly_in_blocks(registry, body, max_rows, limits)
    if read is None:
        return answer_json(read_json(registry, body, max_rows, gently=True), limits, deadline_s)
    return _answer_rows(read.session, read.content, read.encoded, deadline_s)


def answer_quick(request: QuickRequest, deadline_s: float | None = None) -> bytes:
    """Answer a request that the quick reader read.

    Args:
        request: The request.
        deadline_s: Time after which a run is stopped, or None for no limit.

    Raises:
        InputOutOfDomainError: When a row holds a value for which the model has no answer.
        NonFinitePredictionError: When the model answers NaN or infinity.
        InferenceError: When the run fails.
    """
    return _answer(request.session, predict(request.session, request.encoded, deadline_s), split=request.split)


def _answer(session: ModelSession, prediction: Prediction, *, split: bool) -> bytes:
    return session.answers.write_many(prediction.values, prediction.in_range, split=split)
