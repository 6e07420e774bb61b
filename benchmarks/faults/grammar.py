"""Bodies made from a grammar of prediction requests, right, nearly right, and broken in every place there is."""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from models.contract.manifest import CategoryColumn, DateColumn, ModelManifest, NumberColumn, SequenceColumn

_WORDS: Final = (
    *("null", "true", "false", '"1"', '""', "[]", "{}", "[[]]", "[1]", '{"a":1}'),
    *("NaN", "-NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1e308", "1.8e308", "5e-324", "1e-400"),
    *("-0", "-0.0", "01", "1.", ".5", "+1", "-", "0x10", "9007199254740993", "1E+5", "1e+", "''", "1 2", ""),
    *('"\\ud800"', '"\\u0000"', '"é"', '"\x7f"', "\x00", "\ud800", "//", "/**/1", "1,"),
)
_LONG: Final = ("1" * 400, "1" * 4400, '"' + "x" * 5000 + '"', "[" * 60 + "]" * 60, "[" * 3000, '{"a":' * 3000)
ODD: Final = (*_WORDS * 3, *_LONG)
"""What stands where a value should; a lone surrogate is written as the three bytes that are no UTF-8."""

_SPACES: Final = ("", "", "", "", " ", "\n", "\t ", "\r\n")
_NO_SPACES: Final = ("\x0b", "\ufeff", "\xa0", "\0")
_TYPES: Final = ('"FP64"', '"FP32"', '"INT64"', '"BYTES"', '"BOOL"')
_VERSIONS: Final = ("1", "1", "null", "2", "0", "-1", "1.0", "true", '"champion"', "9" * 20)
_OPTIONS: Final = (("interval", "0.9"), ("explain", "true"), ("interval", "2"), ("extra", "1"), ("rows", "[]"))
_TEXTS: Final = ("three hundred and twelve", "forty-five", "one", "", " ", "zzz", "THREE", "3", "a" * 300)


class Grammar:
    """Bodies of requests to the models given, for one seed the same ones.

    Args:
        manifests: The models.
        seed: Which bodies.
    """

    def __init__(self, manifests: Sequence[ModelManifest], seed: int) -> None:
        self._manifests = list(manifests)
        self._random = random.Random(seed)  # noqa: S311 - no secret
        self._kinds: Mapping[str, Callable[[], str]] = {
            "records": self._records,
            "split": self._split,
            "tensors": self._tensors,
        }

    def body(self) -> tuple[str, bytes]:
        """Return a kind and a body."""
        choose = self._random
        kind = choose.choices(("records", "split", "tensors"), (5, 5, 2))[0]
        self._oddness = choose.choice((0.0, 0.0, 0.02, 0.2))
        raw = self._kinds[kind]().encode(errors="surrogatepass")
        if choose.random() < 0.15:
            raw = self._broken(bytearray(raw))
        return kind, raw

    def _is_odd(self) -> bool:
        return self._random.random() < self._oddness

    def _broken(self, raw: bytearray) -> bytes:
        """Change bytes, take some out, or repeat some."""
        choose = self._random
        for _ in range(choose.randint(1, 3)):
            at = choose.randrange(len(raw) + 1)
            how = choose.randrange(5)
            if how == 0 and at < len(raw):
                raw[at] = choose.randrange(256)
            elif how == 1:
                del raw[at : at + choose.randint(1, 20)]
            elif how == 2:
                raw[at:at] = raw[max(0, at - choose.randint(1, 30)) : at]
            elif how == 3:
                raw[at:at] = choose.choice((b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"\xff", b"\x00", b"0"))
            else:
                del raw[at:]
        return bytes(raw)

    def _records(self) -> str:
        manifest = self._random.choice(self._manifests)
        rows = [self._row(manifest) for _ in range(self._n_rows())]
        return self._object([*self._head(manifest), ("rows", self._list(rows)), *self._options()])

    def _split(self) -> str:
        manifest = self._random.choice(self._manifests)
        names = self._names(manifest)
        values = {column.name: column for column in manifest.inputs}
        rows = [self._list([self._value(values.get(name)) for name in names]) for _ in range(self._n_rows())]
        listed = self._list([json.dumps(name) for name in names])
        return self._object([*self._head(manifest), ("columns", listed), ("data", self._list(rows)), *self._options()])

    def _tensors(self) -> str:
        choose = self._random
        n, d = self._n_rows(), len(choose.choice(self._manifests).inputs)
        numbers = self._list([self._number() for _ in range(choose.randrange(9) if self._is_odd() else n * d)])
        shape = choose.choice((f"[{n},{d}]",) * 4 + (f"[{n}]", "[-1,2]", "[1,99999999999]", "[0]"))
        members = [("name", '"numeric"'), ("datatype", choose.choice(_TYPES)), ("shape", shape), ("data", numbers)]
        if self._is_odd():
            members.append(("parameters", '{"binary_data_size": 16}'))
        tensor = self._object([(name, self._odd_or(value)) for name, value in members])
        more = [("id", self._odd_or('"x"')), ("outputs", self._odd_or('[{"name": "predictions"}]'))]
        inputs = self._list([tensor] * choose.choice((1, 1, 1, 1, 0, 2)))
        return self._object([("inputs", inputs), *more[: choose.randrange(3)]])

    def _head(self, manifest: ModelManifest) -> list[tuple[str, str]]:
        name = self._odd_or(json.dumps(manifest.name)) if not self._is_odd() else '"../../etc"'
        version = self._random.choice(_VERSIONS)
        return [("model", name), *([("version", version)] if self._random.random() < 0.1 else [])]

    def _options(self) -> list[tuple[str, str]]:
        return [self._random.choice(_OPTIONS)] if self._random.random() < 0.05 else []

    def _names(self, manifest: ModelManifest) -> list[str]:
        names = [column.name for column in manifest.inputs]
        if self._random.random() < 0.3:
            self._random.shuffle(names)
        if self._is_odd():
            more = self._random.choice((*names, "other", "", "\x00", "a" * 300))
            names.insert(self._random.randrange(len(names) + 1), more)
        if self._is_odd() and names:
            names.pop(self._random.randrange(len(names)))
        return names

    def _row(self, manifest: ModelManifest) -> str:
        if self._is_odd():
            return self._random.choice(ODD)
        columns = {column.name: column for column in manifest.inputs}
        return self._object([(name, self._value(columns.get(name))) for name in self._names(manifest)])

    def _value(self, column: object) -> str:
        if self._is_odd():
            return self._random.choice(ODD)
        if isinstance(column, CategoryColumn):
            return json.dumps(self._random.choice(column.categories))
        if isinstance(column, DateColumn):
            return self._random.choice(('"2026-03-01"', '"2026-03-01T14:30"', '"01.03.2026"', '"2026-13-01"', "5"))
        if isinstance(column, SequenceColumn):
            return self._sequence()
        if isinstance(column, NumberColumn) or self._random.random() < 0.9:
            return self._number()
        return self._random.choice(ODD)

    def _sequence(self) -> str:
        choose = self._random
        how = choose.randrange(4)
        if how < 2:
            return json.dumps(choose.choice(_TEXTS))
        if how == 2:
            return self._list([self._list([self._number() for _ in range(choose.randrange(4))]) for _ in range(3)])
        return '["AAAA"]'

    def _number(self) -> str:
        choose = self._random
        how = choose.randrange(6)
        if how < 2:
            return str(choose.randint(-100, 100))
        if how < 4:
            return repr(choose.uniform(-100, 100))
        return repr(choose.uniform(-1, 1) * 10.0 ** choose.randint(-300, 300)) if how == 4 else "0"

    def _n_rows(self) -> int:
        return self._random.choice((1, 1, 1, 1, 2, 3, 5, 0))

    def _odd_or(self, text: str) -> str:
        return self._random.choice(ODD) if self._is_odd() else text

    def _space(self) -> str:
        return self._random.choice(_NO_SPACES if self._is_odd() else _SPACES)

    def _list(self, items: Sequence[str]) -> str:
        comma = f",{self._space()}"
        return f"[{self._space()}{comma.join(items)}{',' if self._is_odd() else ''}]"

    def _object(self, members: Sequence[tuple[str, str]]) -> str:
        chosen = list(members)
        if self._random.random() < 0.1:
            self._random.shuffle(chosen)
        if self._is_odd() and chosen:
            chosen.append(self._random.choice(chosen))
        written = [f"{json.dumps(name)}{self._space()}:{self._space()}{value}" for name, value in chosen]
        return "{" + f",{self._space()}".join(written) + "}" + ("}" if self._is_odd() else "")
