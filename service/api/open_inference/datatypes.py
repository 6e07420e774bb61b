"""The protocol's element types, as bytes and as JSON.

Source: Open Inference Protocol, "Tensor Data Types", and Triton's binary tensor data extension: little-endian and
row-major; an element of BYTES is preceded by its length in four bytes.
"""

import struct
from collections.abc import Iterator
from itertools import chain, islice
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.api.open_inference.schemas import Datatype
from service.errors import Fault, InputShapeError, InvalidRequestError, quote
from service.inference.tensors import ElementType

BYTES: Final = "BYTES"

NUMBERS: Final[dict[str, np.dtype[Any]]] = {
    "BOOL": np.dtype("bool"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}

DATATYPES: Final = (*NUMBERS, BYTES)

OF_ELEMENT: Final[dict[ElementType, Datatype]] = {"float32": "FP32", "float64": "FP64", "bool": "BOOL", "text": BYTES}
"""Element type of a model's tensor → what the protocol calls it."""

OF_ARRAY: Final = {"f4": "FP32", "f8": "FP64", "b1": "BOOL"}
"""Type of an answered array, without its byte order → what the protocol calls it."""

_LENGTH = struct.Struct("<I")
_MAX_AXES = 8
_MAX_EXTENT = 2**48
"""Most elements of a shape whose axes of 0 are left out: NumPy counts bytes in 63 bits even where an array is empty."""

_PLAIN_NUMBERS = frozenset({int, float})


def from_binary(name: str, datatype: str, shape: tuple[int, ...], raw: memoryview) -> NDArray[Any]:
    """Return a tensor from its bytes.

    Args:
        name: Its name, for errors.
        datatype: The protocol's name of its type.
        shape: Its shape.
        raw: All its bytes and no more.

    Raises:
        InputShapeError: When there are more or fewer bytes than the shape has.
        InvalidRequestError: When an element of text is not UTF-8.
    """
    n_elements = prod(shape)
    if datatype == BYTES:
        found = list(islice(_elements(name, raw), n_elements + 1))
        if len(found) == n_elements:
            return _objects(found, shape)
        msg = f"the binary data must hold the {n_elements} elements of the shape {list(shape)}, however it does not"
        raise InputShapeError([Fault(msg, name)])
    dtype = NUMBERS[datatype]
    if len(raw) != n_elements * dtype.itemsize:
        msg = f"the binary data must have {n_elements * dtype.itemsize} bytes for its shape, however: {len(raw)}"
        raise InputShapeError([Fault(msg, name)])
    return np.frombuffer(raw, dtype=dtype).reshape(shape)


def _objects(elements: list[Any], shape: tuple[int, ...]) -> NDArray[np.object_]:
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    return array.reshape(shape)


def _elements(name: str, raw: memoryview) -> Iterator[str]:
    at = 0
    while at < len(raw):
        end = at + _LENGTH.size
        length = _LENGTH.unpack_from(raw, at)[0] if end <= len(raw) else len(raw)
        if end + length > len(raw):
            msg = f"an element of the binary data must not end beyond it, however one at byte {at} does"
            raise InputShapeError([Fault(msg, name)])
        yield text_of(name, bytes(raw[end : end + length]))
        at = end + length


def text_of(name: str, raw: bytes) -> str:
    """Return an element of text.

    Args:
        name: Name of its tensor, for errors.
        raw: Its bytes.

    Raises:
        InvalidRequestError: When they are not UTF-8.
    """
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        msg = "an element of text must be UTF-8, however one is not"
        raise InvalidRequestError([Fault(msg, name)]) from error


def from_json(name: str, datatype: str, shape: tuple[int, ...], data: list[Any]) -> NDArray[Any]:
    """Return a tensor from JSON, its data flat or nested as its shape; null is a missing value.

    Args:
        name: Its name, for errors.
        datatype: The protocol's name of its type.
        shape: Its shape.
        data: Its elements.

    Raises:
        InputShapeError: When there are more or fewer elements than the shape has, or lists are ragged.
        InvalidRequestError: When an element is not of the type, such as text for a number or 300 for UINT8.
    """
    flat = _flat(name, shape, data)
    if datatype == BYTES:
        if not all(element is None or isinstance(element, str) for element in flat):
            raise InvalidRequestError([Fault("an element of BYTES must be text, however one is not", name)])
        return _objects(flat, shape)
    dtype = NUMBERS[datatype]
    allowed = frozenset({bool}) if dtype.kind == "b" else _PLAIN_NUMBERS
    missing = dtype.kind == "f"
    if not all(type(element) in allowed or (missing and element is None) for element in flat):
        wanted = "true or false" if dtype.kind == "b" else "a number"
        msg = f"an element of {datatype} must be {wanted}, however one is not"
        raise InvalidRequestError([Fault(msg, name)])
    if dtype.kind in "iu" and not all(_fits(element, dtype) for element in flat):
        msg = f"an element of {datatype} must be a whole number that fits it, however one does not"
        raise InvalidRequestError([Fault(msg, name)])
    try:
        return np.array(flat, dtype=np.float64 if missing else dtype).reshape(shape)
    except OverflowError:
        msg = f"a number must be finite in {datatype}, however one is too large"
        raise InvalidRequestError([Fault(msg, name)]) from None


def _fits(element: float, dtype: np.dtype[Any]) -> bool:
    bounds = np.iinfo(dtype)
    return bounds.min <= element <= bounds.max and element == int(element)


def _flat(name: str, shape: tuple[int, ...], data: list[Any]) -> list[Any]:
    """Return the elements in row-major order."""
    n_elements = prod(shape)
    if not (data and isinstance(data[0], list)):
        if len(data) == n_elements:
            return data
        msg = f"the data must hold the {n_elements} elements of the shape {list(shape)}, however it has {len(data)}"
        raise InputShapeError([Fault(msg, name)])
    level: list[Any] = [data]
    for axis, length in enumerate(shape):
        if not all(isinstance(part, list) and len(part) == length for part in level):
            msg = f"nested data must have the shape {list(shape)}, however axis {axis} differs"
            raise InputShapeError([Fault(msg, name)])
        level = list(chain.from_iterable(level))
    return level


def to_binary(datatype: str, array: NDArray[Any]) -> bytes:
    """Return a tensor's bytes."""
    return np.ascontiguousarray(array, dtype=NUMBERS[datatype]).tobytes()


def checked_datatype(name: str, datatype: object) -> str:
    """Return a datatype that the protocol has.

    Raises:
        InvalidRequestError: When it has no such type.
    """
    if isinstance(datatype, str) and datatype in DATATYPES:
        return datatype
    given = quote(datatype) if isinstance(datatype, str) else "no text"
    raise InvalidRequestError([Fault(f"a datatype must be one of {', '.join(DATATYPES)}, however: {given}", name)])


def checked_shape(name: str, shape: object) -> tuple[int, ...]:
    """Return a shape of whole numbers that are not negative.

    Raises:
        InvalidRequestError: When it is no such list, or no array can have it.
    """
    if not (
        isinstance(shape, list)
        and 1 <= len(shape) <= _MAX_AXES
        and all(type(axis) is int and 0 <= axis < 2**31 for axis in shape)
    ):
        msg = f"a shape must be a list of 1 to {_MAX_AXES} whole numbers, none negative, however it is not"
        raise InvalidRequestError([Fault(msg, name)])
    if prod(axis or 1 for axis in shape) > _MAX_EXTENT:
        msg = f"the axes of a shape must multiply to at most {_MAX_EXTENT}, those of 0 left out, however: {shape}"
        raise InvalidRequestError([Fault(msg, name)])
    return tuple(shape)
