"""Results as JSON files. Importing this module loads no torch, so that pages are made in no time."""

import json
from pathlib import Path
from typing import Any

from training.errors import ConfigError

FORMAT = 1


def write(path: Path, content: dict[str, Any]) -> None:
    """Write a document as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def read(path: Path) -> dict[str, Any]:
    """Read a document.

    Raises:
        ConfigError: When the file is not one.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"results must be a JSON file of `nalu bench arithmetic --json`, however {path}: {error}"
        raise ConfigError(msg) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        msg = f"results must have format {FORMAT}, however {path} has not; run the benchmark again"
        raise ConfigError(msg)
    return content
