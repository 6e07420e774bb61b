"""From the bytes of a request to the bytes of its answer, whatever carries them."""

import orjson

from service.api.json_body import parse_json
from service.api.schemas import PredictRecordsRequest, read_predict_request
from service.inference.encoding import encode_records, encode_split
from service.inference.predictor import Prediction, predict
from service.inference.quick_rows import QuickRequest
from service.inference.registry import Registry
from service.inference.session import ModelSession

INLINE_BODY_BYTES = 64 * 1024
"""Bodies up to here are answered on the event loop, where a small run takes 15 to 35 µs and a change of threads more;
larger ones are given a thread, so that nobody else waits for them."""


def answer_json(registry: Registry, body: bytes, max_rows: int) -> bytes:
    """Answer a prediction request in JSON.

    Args:
        registry: The models.
        body: The request, in the records or the split form.
        max_rows: Most rows to answer.

    Returns:
        The answer in the form of the request.

    Raises:
        UnreadableBodyError: When the body is not JSON.
        FaultyInputError: When it does not follow a form, or its rows are not ones that the model can answer.
        ModelNotFoundError: When there is no such model or version.
        ModelNotReadyError: When the version could not be loaded.
    """
    request = read_predict_request(parse_json(body), max_rows)
    session = registry.get(request.model, request.version)
    split = not isinstance(request, PredictRecordsRequest)
    if isinstance(request, PredictRecordsRequest):
        encoded = encode_records(session.manifest, request.rows)
    else:
        encoded = encode_split(session.manifest, request.columns, request.data)
    return _answer(session, predict(session, encoded), split=split)


def answer_quick(request: QuickRequest) -> bytes:
    """Answer a request that the quick reader read.

    Raises:
        InputOutOfDomainError: When a row holds a value for which the model has no answer.
        NonFinitePredictionError: When the model answers NaN or infinity.
        InferenceError: When the run fails.
    """
    return _answer(request.session, predict(request.session, request.encoded), split=request.split)


def _answer(session: ModelSession, prediction: Prediction, *, split: bool) -> bytes:
    manifest = session.manifest
    answer: dict[str, object] = {"model": manifest.name, "version": manifest.version}
    if split:
        answer["columns"] = session.output_names
        answer["data"] = prediction.values.tolist()
    else:
        names = session.output_names
        answer["predictions"] = [dict(zip(names, row, strict=True)) for row in prediction.values.tolist()]
    answer["in_range"] = prediction.in_range.tolist()
    return orjson.dumps(answer)
