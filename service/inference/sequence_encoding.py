"""From texts, steps and images to the graph's tensors, grouped by length: no row is padded.

A padded step would have to be told from a real one inside every graph. Rows of one length make one batch instead; what
a row is answered depends on no other row.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.contract.manifest import (
    IMAGES_TENSOR,
    STEPS_TENSOR,
    TOKENS_TENSOR,
    Dtype,
    ImagesColumn,
    SequenceColumn,
    StepsColumn,
    TextColumn,
)
from service.errors import InvalidRequestError, quote
from service.inference.batches import Batch, SequenceLimits
from service.inference.faults import Faults, kind_of
from service.inference.pictures import PictureError, read_picture

MAX_NUMBERS_PER_RUN = 1_000_000
"""Numbers that one run takes, unless a single sequence has more: 1,275 digits of 28 × 28 pixels, whose convolutions
take tens of megabytes."""

TENSORS: dict[str, str] = {"text": TOKENS_TENSOR, "sequence": STEPS_TENSOR, "images": IMAGES_TENSOR}
"""Kind of a column → the graph's input."""

_STEPS = {"text": "tokens", "sequence": "steps", "images": "images"}
_NUMBERS = frozenset({int, float})
_TOO_LARGE = 10**308
_MAX_NAMED = 10

Encoder = Callable[[Sequence[Any]], NDArray[Any]]
"""Parts of one sequence → what the graph takes, shape (length, *step_shape)."""


class _StepError(Exception):
    """Says which step of a sequence is wrong, and how."""


def encode_sequences(
    column: SequenceColumn, dtype: Dtype, values: Sequence[object], limits: SequenceLimits
) -> tuple[tuple[Batch, ...], NDArray[np.bool_]]:
    """Encode the rows of a model of sequences.

    Args:
        column: The model's column.
        dtype: Floating-point type of its graph.
        values: One sequence per row: a text; a list of steps, each a list of numbers, a mapping of their names, or a
            number where a step has no more; or a list of images (`service.inference.pictures`).
        limits: How much is taken.

    Returns:
        The rows, those of one length together; and whether length and numbers of each row lie in the ranges seen in
        training, shape (n_rows,).

    Raises:
        InvalidRequestError: When a sequence is empty, too long or not what the column takes; the fault names the step.
    """
    rows = _parts_of(column, values, limits)
    encode = _encoder(column, dtype)
    faults, sequences = Faults(), []
    for i, parts in enumerate(rows):
        try:
            sequences.append(encode(parts))
        except _StepError as error:
            faults.add(str(error), column.name, i)
            if faults.full:
                break
    faults.refuse(InvalidRequestError)
    inside = [_in_range(column, sequence) for sequence in sequences]
    cast = np.dtype(dtype) if isinstance(column, StepsColumn) else None
    return tuple(_grouped(TENSORS[column.kind], cast, sequences)), np.array(inside, dtype=np.bool_)


def _parts_of(column: SequenceColumn, values: Sequence[object], limits: SequenceLimits) -> list[Sequence[Any]]:
    """Return each row's tokens, steps or images; refuse what is no sequence, empty or over the limits."""
    faults, rows, what = Faults(), list[Sequence[Any]](), _STEPS[column.kind]
    for i, value in enumerate(values):
        parts: Sequence[Any]
        if isinstance(column, TextColumn) and isinstance(value, str):
            parts = column.tokens(value)
        elif not isinstance(column, TextColumn) and isinstance(value, list | tuple):
            parts = value
        else:
            wanted = "text" if isinstance(column, TextColumn) else f"a list of {what}"
            faults.add(f"a value must be {wanted}, however it is {kind_of(value)}", column.name, i)
            continue
        if not parts:
            faults.add(f"a sequence must not be empty, however it has no {what}", column.name, i)
        elif limits.max_length is not None and len(parts) > limits.max_length:
            message = f"a sequence must have at most {limits.max_length} {what}, however it has {len(parts)}"
            faults.add(message, column.name, i)
        rows.append(parts)
    _check_totals(column, sum(map(len, rows)), limits, faults)
    faults.refuse(InvalidRequestError)
    return rows


def _check_totals(column: SequenceColumn, n_steps: int, limits: SequenceLimits, faults: Faults) -> None:
    remedy = "; send the rows in several requests"
    if limits.max_steps is not None and n_steps > limits.max_steps:
        what = _STEPS[column.kind]
        faults.add(f"a request must have at most {limits.max_steps} {what}, however it has {n_steps}{remedy}")
    if isinstance(column, ImagesColumn) and limits.max_pixels is not None:
        n_pixels = n_steps * column.height * column.width
        if n_pixels > limits.max_pixels:
            faults.add(f"a request must have at most {limits.max_pixels} pixels, however it has {n_pixels}{remedy}")


def _encoder(column: SequenceColumn, dtype: Dtype) -> Encoder:
    if isinstance(column, TextColumn):
        return partial(_tokens, {token: number for number, token in enumerate(column.vocabulary)})
    if isinstance(column, StepsColumn):
        return partial(_steps, column, np.dtype(dtype))
    return partial(_images, column)


def _tokens(numbers: Mapping[str, int], tokens: Sequence[str]) -> NDArray[np.int64]:
    try:
        return np.array([numbers[token] for token in tokens], dtype=np.int64)
    except KeyError:
        i, token = next((i, token) for i, token in enumerate(tokens) if token not in numbers)
        msg = (
            f"a token must be in the model's vocabulary ({len(numbers)} tokens, listed with the model), "
            f"however token {i} is {quote(token)}"
        )
        raise _StepError(msg) from None


def _steps(column: StepsColumn, dtype: np.dtype[np.floating[Any]], steps: Sequence[object]) -> NDArray[np.floating]:
    names = [number.name for number in column.columns]
    rows = [_step(names, i, step) for i, step in enumerate(steps)]
    flat = list(chain.from_iterable(rows))
    if not set(map(type, flat)) <= _NUMBERS:
        i, value = next((i, value) for i, value in enumerate(flat) if type(value) not in _NUMBERS)
        msg = f"a value must be a number, however {_place(names, i)} is {kind_of(value)}"
        raise _StepError(msg)
    try:
        numbers = np.array(flat, dtype=np.float64)
    except OverflowError:  # an integer of hundreds of digits
        numbers = np.array([value if abs(value) < _TOO_LARGE else np.inf for value in flat])
    with np.errstate(over="ignore"):
        narrow = numbers.astype(dtype)
    if not np.isfinite(narrow).all():
        place = _place(names, int(np.flatnonzero(~np.isfinite(narrow))[0]))
        msg = f"a number must be finite in the model's {dtype}, however {place} is infinite or too large"
        raise _StepError(msg)
    return numbers.reshape(len(rows), len(names))


def _step(names: Sequence[str], i: int, step: object) -> Sequence[Any]:
    """Return the numbers of one step in the column's order."""
    if isinstance(step, list | tuple) and len(step) == len(names):
        return step
    if isinstance(step, Mapping) and step.keys() == set(names):
        return [step[name] for name in names]
    if len(names) == 1 and type(step) in _NUMBERS:
        return [step]
    shown = ", ".join(map(quote, names[:_MAX_NAMED])) + (", …" if len(names) > _MAX_NAMED else "")
    if isinstance(step, list | tuple):
        found = f"a list of {len(step)}"
    elif isinstance(step, Mapping):
        found = "an object with other names"
    else:
        found = kind_of(step)
    msg = f"a step must be a list of {len(names)} numbers or an object of {shown}, however step {i} is {found}"
    raise _StepError(msg)


def _place(names: Sequence[str], i: int) -> str:
    step, j = divmod(i, len(names))
    return f"step {step}, {quote(names[j])},"


def _images(column: ImagesColumn, images: Sequence[object]) -> NDArray[np.float32]:
    decoded = np.empty((len(images), column.height, column.width), dtype=np.float32)
    for i, image in enumerate(images):
        try:
            decoded[i] = read_picture(image, column)
        except PictureError as error:
            msg = (
                f"an image must be a grey PNG in base64 or rows of pixels, {column.height} × {column.width}, "
                f"however of image {i}: {error}"
            )
            raise _StepError(msg) from None
    return decoded


def _in_range(column: SequenceColumn, sequence: NDArray[Any]) -> bool:
    if not column.minimum_length <= len(sequence) <= column.maximum_length:
        return False
    if not isinstance(column, StepsColumn):
        return True
    minimum = [number.minimum for number in column.columns]
    maximum = [number.maximum for number in column.columns]
    return bool(((sequence >= minimum) & (sequence <= maximum)).all())


def _grouped(tensor: str, dtype: np.dtype[Any] | None, sequences: Sequence[NDArray[Any]]) -> Iterator[Batch]:
    """Yield the rows of each length in batches of bounded size."""
    lengths = np.array([len(sequence) for sequence in sequences])
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length)
        at_once = max(1, MAX_NUMBERS_PER_RUN // sequences[rows[0]].size)
        for start in range(0, len(rows), at_once):
            part = rows[start : start + at_once]
            stacked = np.stack([sequences[row] for row in part])
            yield Batch(part, {tensor: stacked if dtype is None else stacked.astype(dtype, copy=False)})
