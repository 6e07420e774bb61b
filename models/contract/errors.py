"""Errors of the contract; each message says rule, observed value, remedy."""

from collections.abc import Sequence


class NaluError(Exception):
    """Base of every failure whose message alone is enough for the person who caused it."""


def how_to_install(extras: str) -> str:
    """Return what a message says where packages are missing: no package index has this project, a checkout does.

    Args:
        extras: Extras of the distribution, separated by commas.

    Example:
        >>> how_to_install("train")
        "install them in the checkout: pip install --constraint constraints.txt '.[train]'"
    """
    return f"install them in the checkout: pip install --constraint constraints.txt '.[{extras}]'"


class ContractError(NaluError):
    """Base of everything that goes wrong between a published model and its reader."""


class InvalidNameError(ContractError):
    """A model name or version that is not allowed to touch a path."""


class ManifestError(ContractError):
    """A manifest that cannot be read or does not hold together."""


class ManifestVersionError(ManifestError):
    """A manifest written in a newer format than this release reads."""


class IntegrityError(ContractError):
    """A published file that is not the one its manifest describes."""


class SignatureError(IntegrityError):
    """A manifest that is not signed with a key that is trusted."""


class SigningKeyError(ContractError):
    """A file that does not hold the key that it should."""


class RepositoryError(ContractError):
    """A model repository that cannot be read or written."""


class PublicationError(RepositoryError):
    """A publication that failed; nothing of it was left behind."""


class ActivationError(ContractError):
    """A pointer to the active version that cannot be read, or cannot be changed so."""


class BrokenActivationError(ActivationError):
    """A file in the place of the pointer to the active version that holds none."""


class TableError(ContractError):
    """A table that cannot be read as rows and columns."""


class ColumnNamesError(TableError):
    """A table whose column names are empty or repeated."""


class ModelNotFoundError(ContractError):
    """No such model, or no such version of it, among those at hand."""

    def __init__(self, name: str, version: int | str | None = None, available: Sequence[str | int] = ()) -> None:
        """Keep the facts: the name asked for, the version asked for, and what there is instead."""
        self.name = name
        self.version = version
        self.available = tuple(available)
        what = f"model {name!r}" if version is None else f"version {version} of model {name!r}"
        there = ", ".join(str(item) for item in self.available[:20]) or "none"
        super().__init__(f"{what} is not published here; available: {there}")
