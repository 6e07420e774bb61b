"""A run's folder: written aside, then moved in one step, so that an interrupted run leaves nothing half-written."""

import hashlib
import json
import re
import shutil
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from models.contract.errors import InvalidNameError
from models.contract.names import check_name
from training.config import RunConfig
from training.errors import ConfigError, TrainingError


def name_after(name: str | None, data: Path) -> str:
    """Return the name to publish under: the one given, or one that follows from the file's.

    Raises:
        InvalidNameError: When the name given cannot name a model.
        ConfigError: When no name follows from the file's.
    """
    if name is not None:
        return check_name(name)
    stem = re.sub(r"[^a-z0-9]+", "-", data.name.partition(".")[0].lower()).strip("-")[:64].rstrip("-")
    try:
        return check_name(stem)
    except InvalidNameError as error:
        msg = f"a model needs a name, however none follows from the file name {data.name[:80]!r}; give --name"
        raise ConfigError(msg) from error


def save_run(root: Path, name: str, config: RunConfig, files: Mapping[str, bytes]) -> Path:
    """Write the files of a run to `<root>/<name>-<UTC time>-<hash of the config>/`.

    Returns:
        The folder.

    Raises:
        TrainingError: When it cannot be written; nothing is left behind.
    """
    digest = hashlib.sha256(config.model_dump_json().encode()).hexdigest()[:8]
    folder = root / f"{name}-{datetime.now(UTC):%Y%m%dT%H%M%S}-{digest}"
    staging = root / f".staging-{uuid.uuid4().hex}"
    try:
        staging.mkdir(parents=True)
        for file, content in files.items():
            (staging / file).write_bytes(content)
        while True:
            try:
                staging.rename(folder)
                break
            except OSError:
                if not folder.exists():
                    raise
                folder = folder.with_name(f"{folder.name}-{uuid.uuid4().hex[:4]}")
    except OSError as error:
        msg = f"the folder for runs must be writable, however {error.strerror or error} at {root}; name another --runs"
        raise TrainingError(msg) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return folder


def config_report(config: RunConfig) -> dict[str, object]:
    """Return a config as plain JSON values."""
    content: dict[str, object] = json.loads(config.model_dump_json())
    return content
