"""Reads the requests to `infer` that most clients send for a few rows, all in JSON, and leaves any other to the route.

As with `service.inference.quick_rows`, what is read here is what the route would read: a request whose model takes
plain numbers, with one input `numeric`, and outputs by name or none. A repeated key, of which the parser would take the
last, brings more quotation marks than the content needs.
"""

from array import array
from collections.abc import Sequence
from itertools import chain
from typing import Any, Final, NamedTuple

import orjson

from models.contract.manifest import NUMERIC_TENSOR, PREDICTIONS_TENSOR
from service.api.open_inference.datatypes import OF_ELEMENT
from service.inference.quick_models import PLAIN, QuickModel
from service.inference.quick_rows import QuickReader
from service.inference.tensors import IN_RANGE_TENSOR

_DATATYPES: Final = ("FP64", "FP32")
_ALL: Final = (PREDICTIONS_TENSOR, IN_RANGE_TENSOR)
_KNOWN: Final = frozenset({_ALL, _ALL[::-1], *((name,) for name in _ALL)})
"""Outputs that are answered here, in the order asked for."""

_IN_JSON: Final[dict[str, Any]] = {"binary_data": False}
_N_FIELDS: Final = 4
_WORDS: Final = {True: b"true", False: b"false"}


class InferRows(NamedTuple):
    """A request that needs no second look but at how large its numbers are.

    Attributes:
        model: The model that answers.
        rows: Its values as float64, row after row.
        n_rows: How many rows they are.
        id: To be repeated in the answer; None where none was given.
        outputs: Outputs wanted, in order.
    """

    model: QuickModel
    rows: bytes
    n_rows: int
    id: str | None
    outputs: tuple[str, ...]

    def written(self, rows: Sequence[bytes], in_range: Sequence[bool]) -> bytes:
        """Return the answer.

        Args:
            rows: Outputs of each row as text, parted by commas.
            in_range: Whether each row lay inside the range seen in training.
        """
        manifest = self.model.session.manifest
        shape = (self.n_rows, len(manifest.outputs))
        told = {
            PREDICTIONS_TENSOR: (b"[%d,%d]" % shape, OF_ELEMENT[manifest.graph.dtype], rows),
            IN_RANGE_TENSOR: (b"[%d]" % self.n_rows, OF_ELEMENT["bool"], [_WORDS[inside] for inside in in_range]),
        }
        head: dict[str, str] = {"model_name": manifest.name, "model_version": str(manifest.version)}
        if self.id is not None:
            head["id"] = self.id
        outputs = [
            b'{"name":"%b","shape":%b,"datatype":"%b","data":[%b]}'
            % (name.encode(), told[name][0], told[name][1].encode(), b",".join(told[name][2]))
            for name in self.outputs
        ]
        return b'%b,"outputs":[%b]}' % (orjson.dumps(head)[:-1], b",".join(outputs))


class QuickInfer:
    """Reads small requests to the default version of models of plain numbers.

    Args:
        reader: Knows the models.
    """

    def __init__(self, reader: QuickReader) -> None:
        self._reader = reader

    def read(self, name: str, version: str | None, body: bytes) -> InferRows | None:
        """Return the request in a body, or None where the route has to decide.

        Args:
            name: Model that the path names.
            version: Version that it names, None for the default.
            body: The request.
        """
        model = self._reader.model(name)
        if model is None or not model.plain_numbers or version not in (None, str(model.session.manifest.version)):
            return None
        try:
            request = orjson.loads(body)
            (tensor,) = request["inputs"]
            if not request.keys() <= {"inputs", "outputs", "id"} or len(tensor) != _N_FIELDS:
                return None
            if tensor["name"] != NUMERIC_TENSOR or tensor["datatype"] not in _DATATYPES:
                return None
            n_rows, width = tensor["shape"]
            if type(n_rows) is not int or type(width) is not int or width != len(model.names):
                return None
            flat = _flat(tensor["data"], n_rows, width)
            if flat is None or not 0 < n_rows <= self._reader.max_rows or not set(map(type, flat)) <= PLAIN:
                return None
            outputs, n_quotes = _outputs(request.get("outputs"))
            request_id = request.get("id")
        except (ValueError, TypeError, KeyError, AttributeError):
            return None
        if outputs is None or ("id" in request and type(request_id) is not str):
            return None
        n_texts = len(request) + _N_FIELDS + 2 + (request_id is not None)
        if body.count(b'"') != 2 * n_texts + n_quotes:
            return None
        return InferRows(model, array("d", flat).tobytes(), n_rows, request_id, outputs)


def _flat(data: Any, n_rows: int, width: int) -> list[Any] | None:
    """Return the numbers of a tensor, given flat or row by row."""
    if type(data) is not list:
        return None
    if data and type(data[0]) is list:
        if len(data) != n_rows or not all(type(row) is list and len(row) == width for row in data):
            return None
        return list(chain.from_iterable(data))
    return data if len(data) == n_rows * width else None


def _outputs(given: Any) -> tuple[tuple[str, ...] | None, int]:
    """Return the outputs asked for and the quotation marks that say so, or None for what is not answered here.

    Raises:
        TypeError: When they are no list of objects.
        KeyError: When one has no name.
    """
    if given is None:
        return _ALL, 0
    if type(given) is not list:
        return None, 0
    n_quotes = 0
    for output in given:
        if type(output) is not dict or len(output) > 1 + ("parameters" in output):
            return None, 0
        n_quotes += 4
        if "parameters" in output:
            if output["parameters"] != _IN_JSON or type(output["parameters"]["binary_data"]) is not bool:
                return None, 0
            n_quotes += 4
    names = tuple(output["name"] for output in given)
    return (names if names in _KNOWN else None), n_quotes
