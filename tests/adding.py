"""Publishes the model that adds, and tells what stands in a folder then."""

from pathlib import Path

from models.contract.manifest import ModelManifest
from models.contract.repository import ModelRepository
from tests.published import arithmetic_graph, arithmetic_manifest

GRAPH = arithmetic_graph("add")
MANIFEST = arithmetic_manifest("add", GRAPH)


def everything(folder: Path) -> list[str]:
    """Return the paths of all that is in a folder."""
    return sorted(entry.relative_to(folder).as_posix() for entry in folder.rglob("*"))


def publish(root: Path, **files: bytes) -> ModelManifest:
    """Publish the model, with more files beside it."""
    return ModelRepository(root).publish(MANIFEST, GRAPH, files)
