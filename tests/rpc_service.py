"""A service under test that answers over gRPC, in this process."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from starlette.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from tests.published import publish_all
from tests.sequences import publish_sequences


@contextmanager
def served_over_grpc(root: Path) -> Iterator[TestClient]:
    """Serve models of every kind, one of them broken.

    Args:
        root: An empty folder for them.

    Yields:
        A client of the same service over HTTP; `app_state["rpc"].port` is where gRPC listens.
    """
    publish_all(root)
    publish_sequences(root)
    (root / "broken" / "1").mkdir(parents=True)
    (root / "broken" / "1" / "manifest.json").write_text("{")
    settings = Settings(model_repository=root, max_rows=20_000, max_body_bytes=1024**2, grpc_port=0, shutdown_grace_s=0)
    with TestClient(create_app(settings)) as client:
        yield client
