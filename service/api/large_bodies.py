"""Requests that are given a thread: their body, and what is answered, may be compressed."""

from collections.abc import Callable

from starlette.requests import Request

from service.admission import Admission
from service.api.negotiation import COMPRESS_BYTES, encoding_of, wanted_encoding
from service.api.predictions import INLINE_BODY_BYTES
from service.body_pipe import inflate
from service.bulk import compressed


def is_small(request: Request) -> bool:
    """Return whether a body is plain, its length told, and so small that it is read on the event loop.

    Raises:
        UnsupportedMediaTypeError: When it is compressed in a way that is not read.
    """
    plain = encoding_of(request.headers) is None
    return plain and 0 <= int(request.headers.get("content-length", -1)) <= INLINE_BODY_BYTES


async def answer_in_thread(
    request: Request,
    admission: Admission,
    max_body_bytes: int,
    answer: Callable[[bytes, float], bytes],
    at_once: Callable[[bytes, int], bytes | None] = lambda _body, _n_bytes: None,
) -> tuple[bytes, dict[str, str]]:
    """Read a body once there is a place, and call `answer` in a thread with it and the time that is left.

    Args:
        request: The request.
        admission: Who gives places.
        max_body_bytes: Most bytes of the body once it is not compressed any more.
        answer: Takes body and seconds, and returns the body of the answer.
        at_once: Takes body and length, and returns the body of the answer where it takes no longer than a change of
            threads; asked first, where nothing is compressed.

    Returns:
        The answer, compressed where it is large and the client can read that, and the headers that say so.

    Raises:
        UnsupportedMediaTypeError: When the body is compressed in a way that is not read.
        UnreadableBodyError: When its compression is broken.
        BodyTooLargeError: When it holds more than allowed.
        OverloadedError: When there is no place.
        DeadlineExceededError: When it takes too long.
    """
    encoding, wanted = encoding_of(request.headers), wanted_encoding(request.headers)

    def work(body: bytes, deadline_s: float) -> tuple[bytes, dict[str, str]]:
        plain = body if encoding is None else inflate(body, encoding, max_body_bytes)
        answered = answer(plain, deadline_s)
        if wanted is None or len(answered) <= COMPRESS_BYTES:
            return answered, {"Vary": "Accept-Encoding"}
        packed = b"".join(compressed([answered], wanted))
        return packed, {"Vary": "Accept-Encoding", "Content-Encoding": wanted}

    async with admission.place() as place:
        body = await place.within(request.body())
        if encoding is None and wanted is None and (answered := at_once(body, len(body))) is not None:
            return answered, {"Vary": "Accept-Encoding"}
        await place.turn()
        return await place.run(work, body, place.remaining_s)
