"""Reads a JSON body strictly: what a plain parser lets pass silently is refused."""

import json
from typing import Any, NoReturn

from service.errors import Fault, InvalidRequestError, UnreadableBodyError, quote


def parse_json(body: bytes, *, gently: bool = False, nan_is_missing: bool = False) -> object:
    """Return the JSON value of a body.

    Args:
        body: UTF-8 text.
        gently: Whether other threads shall get on while it is read, for a tenth more time: the interpreter lets go of
            its lock between steps of Python, of which reading a list of numbers otherwise takes none.
        nan_is_missing: Whether a bare NaN is read as null: clients of other platforms write it for a missing value, and
            their own servers read it.

    Raises:
        UnreadableBodyError: When it is not UTF-8, not JSON, nested too deep, or holds an integer of more digits than
            Python converts (4,300, a guard against quadratic time).
        InvalidRequestError: When a key is repeated within an object, or NaN or Infinity is written for a number.
    """
    constant = _null_for_nan if nan_is_missing else _not_finite
    try:
        numbers: dict[str, Any] = {"parse_float": _float, "parse_int": _int} if gently else {}
        return json.loads(body.decode(), object_pairs_hook=_distinct, parse_constant=constant, **numbers)
    except UnicodeDecodeError as error:
        msg = f"a body must be UTF-8, however byte {error.start} is not"
        raise UnreadableBodyError(msg) from error
    except json.JSONDecodeError as error:
        msg = f"a body must be JSON, however: {error.msg} at line {error.lineno}, column {error.colno}"
        raise UnreadableBodyError(msg) from error
    except RecursionError as error:
        msg = "a body must not nest hundreds of levels deep, however it does"
        raise UnreadableBodyError(msg) from error
    except ValueError as error:
        msg = "an integer must not have thousands of digits, however one has"
        raise UnreadableBodyError(msg) from error


def _float(text: str) -> float:
    return float(text)


def _int(text: str) -> int:
    return int(text)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _value in pairs:
            if key in seen:
                raise InvalidRequestError([Fault(f"a key must be given once per object, however {quote(key)} repeats")])
            seen.add(key)
    return found


def _null_for_nan(word: str) -> None:
    if word != "NaN":
        _not_finite(word)


def _not_finite(word: str) -> NoReturn:
    raise InvalidRequestError([Fault(f"a number must be finite, however: {word}; send null for a missing value")])
