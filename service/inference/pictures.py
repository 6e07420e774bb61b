"""Grey images: PNG in base64, or rows of pixels, to numbers from 0 (black) to 1 (white)."""

import base64
import binascii
import io
import struct
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from models.contract.sequences import ImagesColumn

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_NUMBERS = frozenset({int, float})

_NOT_GREY = {2: "in colour", 3: "with a palette", 4: "with transparency", 6: "in colour with transparency"}
"""Colour types of the PNG specification (https://www.w3.org/TR/png-3/#6Colour-values) that are not taken: which grey a
colour stands for, and what shines through, is the caller's to decide."""

_MAX_OVERHEAD_BYTES = 64 * 1024
"""Bytes of a file beyond four times its pixels in 16 bits: more than any plain writer adds."""


class PictureError(Exception):
    """Says what an image is not, as the end of a sentence "…, however: "."""


def read_picture(value: object, column: ImagesColumn) -> NDArray[np.float32]:
    """Return one image, shape (height, width).

    A PNG must be grey, of 1 to 16 bits and of the column's size, which is read from its header before anything is
    decompressed. Only its header and its pixels reach the decoder; comments, profiles and further frames do not.

    Args:
        value: A PNG in base64, or a list of rows of pixels from 0 to the column's white.
        column: What the model takes.

    Raises:
        PictureError: When it is neither.
    """
    if isinstance(value, str):
        return _from_png(value, column)
    if not isinstance(value, list | tuple):
        msg = "it is neither text (a PNG in base64) nor a list of rows of pixels"
        raise PictureError(msg)
    if len(value) != column.height or not all(
        isinstance(row, list | tuple) and len(row) == column.width for row in value
    ):
        msg = f"it is not a list of {column.height} rows of {column.width} pixels"
        raise PictureError(msg)
    pixels = list(chain.from_iterable(value))
    if not set(map(type, pixels)) <= _NUMBERS:
        msg = "a pixel is not a number"
        raise PictureError(msg)
    if not all(0 <= pixel <= column.white for pixel in pixels):
        msg = f"a pixel is not between 0 (black) and {column.white} (white)"
        raise PictureError(msg)
    image = np.array(pixels, dtype=np.float64).reshape(column.height, column.width)
    return (image / column.white).astype(np.float32)


def _from_png(text: str, column: ImagesColumn) -> NDArray[np.float32]:
    limit = _MAX_OVERHEAD_BYTES + 8 * column.height * column.width
    if len(text) > limit * 4 // 3:
        msg = f"its file has more than {limit} bytes"
        raise PictureError(msg)
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        msg = "it is not base64"
        raise PictureError(msg) from None
    plain, depth = _pixels_alone(content, column)
    from PIL.PngImagePlugin import PngImageFile  # here: most services have no model of images, and it takes time

    try:
        with PngImageFile(io.BytesIO(plain)) as image:
            decoded = np.asarray(image if depth == 16 else image.convert("L"))
    except (OSError, SyntaxError, ValueError, struct.error):
        msg = "its PNG is damaged"
        raise PictureError(msg) from None
    return (decoded / (65535 if depth == 16 else 255)).astype(np.float32)


def _pixels_alone(content: bytes, column: ImagesColumn) -> tuple[bytes, int]:
    """Return a PNG of the header, the pixels and the end alone, and its bits per pixel."""
    if not content.startswith(_SIGNATURE):
        msg = "it is not a PNG"
        raise PictureError(msg)
    kept, position, depth = [_SIGNATURE], len(_SIGNATURE), 0
    while position < len(content):
        if len(content) - position < 12:
            break
        size = int.from_bytes(content[position : position + 4])
        kind = content[position + 4 : position + 8]
        chunk = content[position : position + 12 + size]
        if len(chunk) != 12 + size:
            break
        if len(kept) == 1:
            depth = _check_header(kind, chunk[8:-4], column)
        if kind in (b"IHDR", b"IDAT", b"IEND"):
            kept.append(chunk)
        if kind == b"IEND":
            return b"".join(kept), depth
        position += len(chunk)
    msg = "its PNG is damaged"
    raise PictureError(msg)


def _check_header(kind: bytes, header: bytes, column: ImagesColumn) -> int:
    if kind != b"IHDR" or len(header) != 13:
        msg = "its PNG is damaged"
        raise PictureError(msg)
    width, height, depth, colour = struct.unpack(">IIBB", header[:10])
    if (height, width) != (column.height, column.width):
        msg = f"it has {height} × {width} pixels (height × width) and not {column.height} × {column.width}"
        raise PictureError(msg)
    if colour != 0:
        msg = f"it is {_NOT_GREY.get(colour, 'of an unknown kind')} and not grey"
        raise PictureError(msg)
    return int(depth)
