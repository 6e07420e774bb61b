"""How much of a client is borne, and how many connections there may be, where files are few."""

import resource

import pytest

from service.api.patience import Patience, allow_files, patience_of, room_of
from service.settings import Settings


@pytest.mark.parametrize(
    ("limits", "granted"), [((100, 1000), 628), ((100, 300), 300), ((900, 1000), None), ((100, -1), 628)]
)
def test_as_many_files_may_be_opened_as_connections_need(
    limits: tuple[int, int], granted: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _what: limits)
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _what, wanted: asked.append(wanted))

    allow_files(500)

    assert asked == ([] if granted is None else [(granted, limits[1])])


@pytest.mark.parametrize(
    ("soft", "port", "room"), [(1128, None, 500), (628, None, 500), (328, None, 200), (328, 8001, 100), (-1, 8001, 500)]
)
def test_two_ports_share_the_files_that_may_be_opened(
    soft: int, port: int | None, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (soft, soft))

    assert room_of(Settings(max_connections=500, grpc_port=port)) == room


def test_as_much_is_borne_as_the_settings_say() -> None:
    told = Settings(
        receive_timeout_s=3, keep_alive_s=4, max_head_bytes=5000, max_body_bytes=6000, max_connections=7, grpc_port=None
    )

    assert patience_of(told) == Patience(receive_s=3, idle_s=4, head_bytes=5000, body_bytes=6000, n_connections=7)
