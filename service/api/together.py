"""Small requests that are there at the same time are answered in one run.

Nobody waits for another that is not there: what has been read in one turn of the event loop is run at the end of that
turn, or once a look at the sockets finds no more. A run of 16 rows takes 20 µs where 16 runs take 160, and more than
that in caches filled anew each time.
"""

import types
from collections.abc import Generator, Sequence
from typing import Any, Protocol

from service.inference.answer_json import rows_as_text
from service.inference.joint_runs import MAX_ROWS
from service.inference.predictor import predict
from service.inference.quick_models import QuickModel
from service.inference.quick_rows import QuickRequest


class Joinable(Protocol):
    """A small request, read, whose rows can be in a run with those of others."""

    @property
    def model(self) -> QuickModel:
        """The model that answers."""

    @property
    def rows(self) -> Any:
        """Its values, as `QuickModel.encode` takes them."""

    @property
    def n_rows(self) -> int:
        """How many rows they are."""

    def written(self, rows: Sequence[bytes], in_range: Sequence[bool]) -> bytes:
        """Return the answer, given each row's outputs as text and whether it lay inside the range seen in training."""


class Turn:
    """The requests of one turn of the event loop."""

    def __init__(self) -> None:
        self._requests: list[Joinable] = []
        self._answers: list[bytes | None] | None = None

    @property
    def over(self) -> bool:
        """Whether they have been run, so that the next request belongs to another turn."""
        return self._answers is not None

    def add(self, request: Joinable) -> int:
        """Let a request take part; return its place."""
        self._requests.append(request)
        return len(self._requests) - 1

    def answers(self) -> Sequence[bytes | None]:
        """Return the answers, place by place; None where the ordinary route has to decide. The first call runs them."""
        if self._answers is None:
            self._answers = answer_together(self._requests)
        return self._answers


@types.coroutine
def next_turn() -> Generator[None, None, None]:
    """Wait until everything that the event loop has at hand has had its turn."""
    yield


def answer_together(requests: Sequence[Joinable]) -> list[bytes | None]:
    """Answer requests, those to one model in one run where its answers are the same bits then.

    Returns:
        The answer to each, or None where it has none; why is told where it is asked for again, alone.
    """
    if len(requests) == 1:
        return [answer_small(requests[0])]
    answers: list[bytes | None] = [None] * len(requests)
    models = {request.model for request in requests}
    if len(models) == 1 and sum([request.n_rows for request in requests]) <= MAX_ROWS:
        (model,) = models
        if model.runs_jointly:
            _answer_chosen(model, requests, range(len(requests)), answers)
            return answers
    groups: dict[QuickModel, list[int]] = {}
    for place, request in enumerate(requests):
        if request.model.runs_jointly and request.n_rows < MAX_ROWS:
            groups.setdefault(request.model, []).append(place)
        else:
            answers[place] = answer_small(request)
    for model, places in groups.items():
        chosen: list[int] = []
        n_rows = 0
        for place in places:
            n_rows += requests[place].n_rows
            if n_rows > MAX_ROWS:
                _answer_chosen(model, requests, chosen, answers)
                chosen, n_rows = [], requests[place].n_rows
            chosen.append(place)
        _answer_chosen(model, requests, chosen, answers)
    return answers


def answer_small(request: Joinable) -> bytes | None:
    """Answer one request; None where it has no answer."""
    model = request.model
    try:
        prediction = predict(model.session, model.encode([request.rows]), tentative=True)
    except Exception:  # it fails on the ordinary route too, where it is told and logged
        return None
    return request.written(rows_as_text(prediction.values), prediction.in_range.tolist())


def answer_at_once(request: QuickRequest) -> bytes | None:
    """Answer one request of many rows; None where it has no answer."""
    try:
        prediction = predict(request.session, request.encoded, tentative=True)
    except Exception:  # it fails on the ordinary route too, where it is told and logged
        return None
    return request.session.answers.write_many(prediction.values, prediction.in_range, split=request.split)


def _answer_chosen(
    model: QuickModel, requests: Sequence[Joinable], places: Sequence[int], answers: list[bytes | None]
) -> None:
    if len(places) == 1:
        answers[places[0]] = answer_small(requests[places[0]])
        return
    try:
        encoded = model.encode([requests[place].rows for place in places])
        prediction = predict(model.session, encoded, tentative=True, n_requests=len(places))
    except Exception:  # one of them has no answer: each alone, so that the others have theirs
        for place in places:
            answers[place] = answer_small(requests[place])
        return
    rows, in_range = rows_as_text(prediction.values), prediction.in_range.tolist()
    start = 0
    for place in places:
        request = requests[place]
        stop = start + request.n_rows
        answers[place] = request.written(rows[start:stop], in_range[start:stop])
        start = stop
