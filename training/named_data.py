"""Data sets by name: the files of the folder that NALU_DATA_DIR names."""

import os
from pathlib import Path

from models.contract.table_sources import EXTENSIONS
from training.errors import TrainingDataError
from training.shown_names import hint

DATA_DIR_VARIABLE = "NALU_DATA_DIR"


def data_dir() -> Path:
    """Return the folder of named data sets, from `NALU_DATA_DIR`.

    Raises:
        TrainingDataError: When the variable is not set or names no folder.
    """
    named_folder = os.environ.get(DATA_DIR_VARIABLE)
    if not named_folder:
        msg = f"a named data set must lie in the folder that {DATA_DIR_VARIABLE} names, however it is not set; set it"
        raise TrainingDataError(msg)
    folder = Path(named_folder)
    if not folder.is_dir():
        msg = f"{DATA_DIR_VARIABLE} must name a folder, however {folder} is none; correct it"
        raise TrainingDataError(msg)
    return folder


def named(name: str) -> Path:
    """Return the file of a named data set, such as "steel_fatigue_nims437".

    Raises:
        TrainingDataError: When there is no such file under `data_dir()`.
    """
    folder = data_dir()
    files = {entry.name: entry for entry in sorted(folder.iterdir()) if entry.name.endswith(EXTENSIONS)}
    for extension in EXTENSIONS:
        if name + extension in files:
            return files[name + extension]
    there = sorted({entry.partition(".")[0] for entry in files})
    msg = f"a named data set must lie in {folder}, however {name[:80]!r} does not{hint(name, there)}"
    raise TrainingDataError(msg)
