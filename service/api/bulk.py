"""`POST /predict` with a table for a body: the model in the query, rows streamed in, the answer streamed out."""

import asyncio
import contextlib

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from service.admission import Admission
from service.api.negotiation import COMPRESS_BYTES, MEDIA_TYPES, encoding_of, wanted_encoding, wanted_form
from service.api.schemas import Interval, ModelName, VersionNumber
from service.body_pipe import BodyPipe
from service.bulk import BulkAnswer, BulkLimits, BulkRequest, Form, compressed, predict_body, written
from service.errors import Fault, InvalidRequestError, quote
from service.inference.registry import Registry
from service.inference.trust import Asked, check_offered


class BulkQuery(BaseModel):
    """What stands in the query of a bulk request."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: ModelName
    version: VersionNumber | None = None
    interval: Interval = None


async def answer_bulk(
    request: Request, form: Form, registry: Registry, admission: Admission, limits: BulkLimits
) -> Response:
    """Answer a request whose body is a table.

    It keeps its place until the answer is sent, which is held meanwhile: clients that read slowly are as many as there
    are places.

    Args:
        request: The request, its body not read yet.
        form: Form of the body.
        registry: The models.
        admission: Places for such requests; the turn comes before the body is read, which is held nowhere.
        limits: How much a body may hold.
    """
    query = _read_query(request)
    wanted = wanted_form(request.headers, form)
    session = registry.get(query.model, query.version)
    asked = Asked(query.interval)
    check_offered(session.manifest, asked)
    bulk = BulkRequest(session, form, encoding_of(request.headers), asked)
    async with contextlib.AsyncExitStack() as stack:
        place = await stack.enter_async_context(admission.place())
        await place.turn()
        body = BodyPipe()
        feeding = asyncio.create_task(_feed(request, body))
        try:
            answer = await place.run(predict_body, bulk, body, limits)
        finally:
            body.end(ClientDisconnect())  # wakes a reader that nobody waits for any more
            feeding.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await feeding
        place.end_turn()
        response = _respond(request, answer, wanted)
        response.place = stack.pop_all()
    return response


class _Answer(StreamingResponse):
    """An answer that is sent piece by piece.

    Attributes:
        place: Left once it is sent, or nobody reads it any more.
    """

    place: contextlib.AsyncExitStack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        async with self.place:
            await super().__call__(scope, receive, send)


async def _feed(request: Request, body: BodyPipe) -> None:
    try:
        async for piece in request.stream():
            if body.closed:
                return
            await body.feed(piece)
        body.end()
    except Exception as error:  # raised in the reader, for whom it is
        body.end(error)


def _read_query(request: Request) -> BulkQuery:
    given = request.query_params.multi_items()
    repeated = {name for name, _ in given if len(request.query_params.getlist(name)) > 1}
    if repeated:
        raise InvalidRequestError([Fault(f"a parameter must be given once, however {quote(min(repeated))} repeats")])
    try:
        return BulkQuery.model_validate(dict(given))
    except ValidationError as error:
        faults = [Fault(f"query, {quote(str(fault['loc'][0]))}: {fault['msg']}") for fault in error.errors()]
        raise InvalidRequestError(faults) from error


def _respond(request: Request, answer: BulkAnswer, form: Form) -> _Answer:
    headers = {
        "Nalu-Model": answer.manifest.name,
        "Nalu-Version": str(answer.manifest.version),
        "Vary": "Accept, Accept-Encoding",
    }
    pieces = written(answer, form)
    large = len(answer.in_range) * (8 * len(answer.columns) + 1) > COMPRESS_BYTES
    encoding = wanted_encoding(request.headers) if large else None
    if encoding is not None:
        pieces = compressed(pieces, encoding)
        headers["Content-Encoding"] = encoding
    return _Answer(pieces, media_type=MEDIA_TYPES[form], headers=headers)
