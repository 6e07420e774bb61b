"""Reads an ONNX file's wire format just far enough to refuse what no published model needs.

The serving side has no `onnx` package, and the runtime must not see a file before it is known to hold no reference to
other files, no foreign operators, no endless loops and no random numbers. This walks the protobuf wire format
(https://protobuf.dev/programming-guides/encoding/) with the field numbers of `onnx.proto`
(https://github.com/onnx/onnx/blob/main/onnx/onnx.proto). It copies no tensor data and recurses nowhere deeper than
the message types below: a nested graph is refused where it is met, but for the body of a `Scan` in a model of
sequences, which is held to the same rules and may hold no further one. A `Scan` ends with the sequence that it reads.
"""

from collections.abc import Iterator
from typing import NoReturn

from service.errors import UnsafeModelError, quote

ALLOWED_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})
"""The standard operator sets; anything else is a custom operator or a training operator."""

NONDETERMINISTIC = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)
"""Operators whose answer changes from run to run: a prediction must not."""

MAX_NODES = 100_000
"""Nodes accepted; an LSTM unrolled over ten steps has 155 (platform measurements)."""

MAX_FIELDS = 5_000_000
"""Wire-format fields read before a file is given up; a 155-node graph has about 5,000, and reading this many takes
some seconds."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10
_MAX_NAME_BYTES = 1000


def scan_graph(onnx: bytes, *, loops: bool = False) -> None:
    """Refuse a file that no published model can be.

    Refused are: what is not an ONNX message, data in other files, operators outside the standard domains, nested
    graphs (`Loop`, `If`, and `Scan` where it is not asked for), functions, training information, and operators that
    draw random numbers.

    Args:
        onnx: The file.
        loops: Whether a `Scan` may run a graph from step to step.

    Raises:
        UnsafeModelError: When it is refused.
    """
    _Scan(loops=loops).model(memoryview(onnx))


class _Scan:
    """One walk over one file, with what is left of its budgets."""

    def __init__(self, *, loops: bool) -> None:
        self._loops = loops
        self._n_nodes = 0
        self._n_fields = 0

    def model(self, model: memoryview) -> None:
        n_graphs = 0
        for number, value in self._fields(model):
            match number:
                case 7:
                    n_graphs += 1
                    self._graph(_message(value), nested=False)
                case 8:
                    for inner, text in self._fields(_message(value)):
                        if inner == 1:
                            _check_domain(_text(text))
                case 20 | 25:
                    what = "training information" if number == 20 else "functions"
                    _refuse(f"a model file must hold a plain graph, however it holds {what}")
        if n_graphs != 1:
            _refuse(f"a model file must hold one graph, however it holds {n_graphs}")

    def _graph(self, graph: memoryview, *, nested: bool) -> None:
        for number, value in self._fields(graph):
            match number:
                case 1:
                    self._n_nodes += 1
                    if self._n_nodes > MAX_NODES:
                        _refuse(f"a graph must have at most {MAX_NODES} nodes, however it has more")
                    self._node(_message(value), nested=nested)
                case 5:
                    self._tensor(_message(value))
                case 15:
                    self._sparse_tensor(_message(value))

    def _node(self, node: memoryview, *, nested: bool) -> None:
        operator, attributes = "", list[memoryview]()
        for number, value in self._fields(node):
            match number:
                case 4:
                    if (operator := _text(value)) in NONDETERMINISTIC:
                        _refuse(f"a model must answer the same each time, however it draws random numbers ({operator})")
                case 5:
                    attributes.append(_message(value))
                case 7:
                    _check_domain(_text(value))
        for attribute in attributes:  # the operator's name may stand behind them; a reader takes the last one
            self._attribute(attribute, may_nest=self._loops and not nested and operator == "Scan")

    def _attribute(self, attribute: memoryview, *, may_nest: bool) -> None:
        for number, value in self._fields(attribute):
            match number:
                case 5 | 10:
                    self._tensor(_message(value))
                case 6 if may_nest:
                    self._graph(_message(value), nested=True)
                case 6 | 11:
                    _refuse("a graph must not nest others (Loop, If, a Scan without sequences), however it does")
                case 22 | 23:
                    self._sparse_tensor(_message(value))

    def _sparse_tensor(self, tensor: memoryview) -> None:
        for number, value in self._fields(tensor):
            if number in (1, 2):
                self._tensor(_message(value))

    def _tensor(self, tensor: memoryview) -> None:
        for number, value in self._fields(tensor):
            if number == 13 or (number == 14 and value != 0):
                _refuse("a model file must hold all its data, however it refers to another file (external data)")

    def _fields(self, message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
        """Yield (field number, value) of a message; a length that lies is refused."""
        position, end = 0, len(message)
        while position < end:
            self._n_fields += 1
            if self._n_fields > MAX_FIELDS:
                _refuse(f"a model file must have at most {MAX_FIELDS} fields, however it has more")
            tag, position = _varint(message, position)
            number, wire = tag >> 3, tag & 7
            value: int | memoryview
            if wire == _VARINT:
                value, position = _varint(message, position)
            elif wire in (_FIXED64, _FIXED32, _BYTES):
                if wire == _BYTES:
                    size, position = _varint(message, position)
                else:
                    size = 8 if wire == _FIXED64 else 4
                if size > end - position:
                    _refuse_malformed()
                value = message[position : position + size]
                position += size
            else:
                _refuse_malformed()
            yield number, value


def _check_domain(domain: str) -> None:
    if domain not in ALLOWED_DOMAINS:
        _refuse(f"a graph must use the standard operators only, however it uses the domain {quote(domain)}")


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        _refuse_malformed()
    return value


def _text(value: int | memoryview) -> str:
    raw = _message(value)
    if len(raw) > _MAX_NAME_BYTES:
        _refuse(f"operator and domain names must not exceed {_MAX_NAME_BYTES} bytes, however one does")
    try:
        return str(raw, "utf-8")
    except UnicodeDecodeError:
        _refuse_malformed()


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for i, byte in enumerate(message[position : position + _MAX_VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value, position + i + 1
    return _refuse_malformed()


def _refuse_malformed() -> NoReturn:
    _refuse("a model file must be an ONNX message, however it is truncated or is something else")


def _refuse(rule: str) -> NoReturn:
    msg = f"{rule}; export and publish the model again"
    raise UnsafeModelError(msg)
