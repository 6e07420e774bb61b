"""Routes that change what is served are open to admin keys alone."""

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from service.api.admin import ADMIN_PROBLEMS, SCOPE_KEY, AdminOnly
from service.api.problems import install_problem_handlers
from service.key_file import hash_of
from service.keys import Key

PREDICT = Key("dashboard", "predict", hash_of(b"a"), float("inf"))
ADMIN = Key("operator", "admin", hash_of(b"b"), float("inf"))


def client_of(key: object) -> TestClient:
    """Return a client of an application with one guarded route, whose requests have been found to bring a key."""
    app = FastAPI()
    install_problem_handlers(app)

    @app.post("/change", dependencies=[AdminOnly])
    async def change() -> str:
        return "changed"

    async def with_key(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, SCOPE_KEY: key}, receive, send)

    return TestClient(with_key)


def test_an_admin_key_may_change_what_is_served() -> None:
    assert client_of(ADMIN).post("/change").json() == "changed"


@pytest.mark.parametrize(
    ("key", "told"), [(PREDICT, "has the role predict"), (None, "runs without keys"), ("admin", "runs without keys")]
)
def test_nothing_else_may(key: object, told: str) -> None:
    answer = client_of(key).post("/change")

    assert (answer.status_code, answer.json()["type"]) == (403, "forbidden")
    assert told in answer.json()["detail"]
    assert set(ADMIN_PROBLEMS) == {401, 403}
