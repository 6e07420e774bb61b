"""The two ways of a prediction request: every test of the one holds for the other."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from service.inference.quick_rows import QuickReader


@contextmanager
def path_taken(path: str) -> Iterator[None]:
    """Leave every request to the ordinary route, unless the path is the short one."""
    with pytest.MonkeyPatch.context() as patch:
        if path == "ordinary route":
            patch.setattr(QuickReader, "read", lambda _reader, _body: None)
            patch.setattr(QuickReader, "read_small", lambda _reader, _body: None)
        yield
