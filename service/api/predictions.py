"""From the bytes of a request to the bytes of its answer, whatever carries them."""

import orjson

from service.api.json_body import parse_json
from service.api.schemas import PredictRecordsRequest, read_predict_request
from service.inference.encoding import encode_records, encode_split
from service.inference.predictor import predict
from service.inference.registry import Registry


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
    manifest = session.manifest
    names = [output.name for output in manifest.outputs]
    answer: dict[str, object] = {"model": manifest.name, "version": manifest.version}
    if isinstance(request, PredictRecordsRequest):
        prediction = predict(session, encode_records(manifest, request.rows))
        answer["predictions"] = [dict(zip(names, row, strict=True)) for row in prediction.values.tolist()]
    else:
        prediction = predict(session, encode_split(manifest, request.columns, request.data))
        answer["columns"] = names
        answer["data"] = prediction.values.tolist()
    answer["in_range"] = prediction.in_range.tolist()
    return orjson.dumps(answer)
