"""Model cards over HTTP: pages that a training run published, served without anything that could run."""

from pathlib import Path

from models.contract.errors import ContractError
from models.contract.repository import ModelRepository
from service.errors import CardNotFoundError

CARD_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; sandbox; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Cache-Control": "no-cache",
}
"""A card is a file of the model repository, so it may hold anything: no script, no form, nothing from elsewhere."""


def card_path(root: Path, name: str, version: int) -> str | None:
    """Return the path of a version's card in this interface, or None where it has none."""
    try:
        there = ModelRepository(root).has_card(name, version)
    except ContractError:  # loaded, and gone from the disk since
        return None
    return f"/models/{name}/versions/{version}/card" if there else None


def read_card(root: Path, name: str, version: int) -> bytes:
    """Return a version's card.

    Raises:
        CardNotFoundError: When it has none.
        IntegrityError: When it cannot be read.
    """
    if card_path(root, name, version) is None:
        raise CardNotFoundError(name, version)
    return ModelRepository(root).card(name, version)
