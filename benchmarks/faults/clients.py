"""Clients that ask without end and keep an account: what was answered right or wrong, by whom, and what was lost.

A worker's request ids begin alike, so an answer's id tells which process gave it, and a lost request which one had its
connection.
"""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from benchmarks.serving.load import http_request

_PROCESS_DIGITS: Final = 20
"""Digits of a request id that are the process's."""

_REQUESTS_A_CONNECTION: Final = 40
"""After so many a client connects anew, so that connections spread over workers that came later."""


@dataclass(frozen=True)
class Lost:
    """A request whose connection ended before its answer was whole.

    Attributes:
        owner: The process that had answered on the connection before, or None where it was the first request on it.
        sent_at: When it was sent.
    """

    owner: str | None
    sent_at: float


@dataclass
class Account:
    """What clients saw, times on the monotonic clock.

    Attributes:
        right: Right answers.
        wrong: Others, as they came.
        lost: Requests without an answer.
        refused: Connections that were refused.
        last_sent: Process → when the last request that it answered was sent.
        last_opened: When the last connection on which an answer came was opened.
    """

    right: int = 0
    wrong: list[str] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    refused: int = 0
    last_sent: dict[str, float] = field(default_factory=dict)
    last_opened: float = 0.0

    def answering_since(self, moment: float) -> set[str]:
        """Return the processes that answered requests sent since then."""
        return {process for process, sent_at in self.last_sent.items() if sent_at >= moment}


@asynccontextmanager
async def asking(port: int, n_clients: int) -> AsyncIterator[Account]:
    """Let clients ask for products over connections of their own while the block runs."""
    account, over = Account(), asyncio.Event()
    clients = [asyncio.create_task(_ask(port, account, over, seed)) for seed in range(n_clients)]
    try:
        yield account
    finally:
        over.set()
        await asyncio.gather(*clients)


async def _ask(port: int, account: Account, over: asyncio.Event, seed: int) -> None:
    numbers = random.Random(seed)  # noqa: S311 - no secret
    while not over.is_set():
        opened = time.monotonic()
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            account.refused += 1
            await asyncio.sleep(0.005)
            continue
        owner: str | None = None
        try:
            for _ in range(_REQUESTS_A_CONNECTION):
                a, b = numbers.randrange(1000), numbers.randrange(1000)
                body = json.dumps({"model": "multiply", "rows": [{"a": a, "b": b}]}).encode()
                sent_at = time.monotonic()
                try:
                    writer.write(http_request("/predict", body))
                    head = (await reader.readuntil(b"\r\n\r\n")).lower()
                    length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
                    content = await reader.readexactly(length)
                except (asyncio.IncompleteReadError, ConnectionError):
                    account.lost.append(Lost(owner, sent_at))
                    break
                if head.startswith(b"http/1.1 200") and json.loads(content)["predictions"] == [{"y": a * b}]:
                    account.right += 1
                else:
                    account.wrong.append(f"{head[:40]!r} {content[:200]!r}")
                owner = head.partition(b"x-request-id:")[2].strip()[:_PROCESS_DIGITS].decode()
                account.last_sent[owner] = sent_at
                account.last_opened = max(account.last_opened, opened)
                if b"connection: close" in head or over.is_set():
                    break
        finally:
            writer.close()
