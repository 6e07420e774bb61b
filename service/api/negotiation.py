"""What a body is, and what a client wants back: content types and encodings, by what their headers say."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeVar

from starlette.datastructures import Headers

from service.body_pipe import Encoding
from service.bulk import Form
from service.errors import NotAcceptableError, UnsupportedMediaTypeError, quote

JSON: Final = "application/json"

MEDIA_TYPES: Final[Mapping[Form, str]] = {
    "arrow": "application/vnd.apache.arrow.stream",
    "csv": "text/csv",
    "json": JSON,
}
"""Form → its content type."""

PREDICT_PATH: Final = "/predict"

COMPRESS_BYTES: Final = 64 * 1024
"""Answers over this size are compressed where the client can read that; of smaller ones the time costs more."""

_ENCODINGS: Final[Mapping[str, Encoding]] = {"zstd": "zstd", "gzip": "gzip", "x-gzip": "gzip", "deflate": "gzip"}
"""Content encoding → how it is read; the reader of gzip takes zlib's form, which HTTP calls deflate, as well."""

T = TypeVar("T")


def is_bulk(path: str, headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Return whether a request's body is a table, which is read as it arrives.

    Args:
        path: What is asked.
        headers: Names in lower case, and values.
    """
    return path == PREDICT_PATH and _told(headers)[1] in ("arrow", "csv")


def form_of(headers: Headers) -> Form:
    """Return the form of a body.

    Raises:
        UnsupportedMediaTypeError: When it is none that is read, or not in UTF-8.
    """
    given, form = _told(headers.raw)
    charset = given.partition("charset=")[2].partition(";")[0].strip().strip('"').lower()
    if form is None or charset not in ("", "utf-8"):
        msg = (
            f"a body must have one of the content types {', '.join(MEDIA_TYPES.values())}, in UTF-8, however: "
            f"{quote(given) if given else 'none'}"
        )
        raise UnsupportedMediaTypeError(msg)
    return form


def _told(headers: Iterable[tuple[bytes, bytes]]) -> tuple[str, Form | None]:
    """Return the content type of a body and the form that it stands for: the first, where several are given.

    Whoever asks goes by the same one: a body would else be limited as a table and read as JSON.
    """
    given = next((value for name, value in headers if name == b"content-type"), b"").decode("latin-1")
    wanted = given.partition(";")[0].strip().lower()
    return given, next((form for form, known in MEDIA_TYPES.items() if known == wanted), None)


def encoding_of(headers: Headers) -> Encoding | None:
    """Return how a body is compressed.

    Raises:
        UnsupportedMediaTypeError: When it is in a way that is not read.
    """
    given = headers.get("content-encoding", "identity").strip().lower()
    if given == "identity":
        return None
    if given not in _ENCODINGS:
        msg = f"a body must be compressed with gzip, deflate or zstd, or not at all, however it is with {quote(given)}"
        raise UnsupportedMediaTypeError(msg)
    return _ENCODINGS[given]


def wanted_form(headers: Headers, own: Form) -> Form:
    """Return the form in which a client wants its answer: that of its request unless it prefers another.

    Raises:
        NotAcceptableError: When it wants none that is written.
    """
    forms: list[Form] = [own, *(form for form in MEDIA_TYPES if form != own)]
    known = [(MEDIA_TYPES[form], form) for form in forms]
    if "accept" not in headers:
        return own
    form = _preferred(headers.getlist("accept"), known)
    if form is None:
        msg = f"an answer can be had as {', '.join(MEDIA_TYPES.values())}, however Accept names none of them"
        raise NotAcceptableError(msg)
    return form


def wanted_encoding(headers: Headers) -> Encoding | None:
    """Return how a client can read a compressed answer, or None where it cannot."""
    return _preferred(headers.getlist("accept-encoding"), [("zstd", "zstd"), ("gzip", "gzip")], named=True)


def _preferred(given: Sequence[str], known: Sequence[tuple[str, T]], *, named: bool = False) -> T | None:
    """Return the choice of highest quality, the earlier one where two are equal; None where none is acceptable.

    Args:
        given: Values of the header.
        known: Name → choice, in our order.
        named: Whether a wildcard does not count.
    """
    ranges = dict(_quality(one) for value in given for one in value.split(",") if one.strip())
    best, best_quality = None, 0.0
    for name, choice in known:
        kind = name.partition("/")[0]
        quality = ranges.get(name)
        if quality is None and not named:
            quality = ranges.get(f"{kind}/*", ranges.get("*/*"))
        if quality is not None and quality > best_quality:
            best, best_quality = choice, quality
    return best


def _quality(one: str) -> tuple[str, float]:
    name, *parameters = (part.strip().lower() for part in one.split(";"))
    told = next((part[2:] for part in parameters if part.startswith("q=")), "1")
    try:
        return name, min(1.0, max(0.0, float(told)))
    except ValueError:
        return name, 0.0
