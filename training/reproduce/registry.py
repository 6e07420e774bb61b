"""All experiments; importing this module loads torch."""

from training.errors import ConfigError
from training.reproduce.digits.experiment import DIGITS
from training.reproduce.experiment import Experiment
from training.reproduce.gridworld.experiment import GRIDWORLD
from training.reproduce.identity import IDENTITY
from training.reproduce.number_words.experiment import NUMBER_WORDS
from training.reproduce.outcome import NAMES
from training.reproduce.programs.experiment import PROGRAMS
from training.reproduce.recurrent import RECURRENT
from training.reproduce.static import STATIC

_ALL: tuple[Experiment, ...] = (IDENTITY, STATIC, RECURRENT, NUMBER_WORDS, DIGITS, PROGRAMS, GRIDWORLD)

EXPERIMENTS: dict[str, Experiment] = {one.name: one for one in sorted(_ALL, key=lambda one: NAMES.index(one.name))}
"""Name → experiment, in the paper's order."""


def chosen(name: str) -> list[Experiment]:
    """Return the experiment of a name, or all of them for "all".

    Raises:
        ConfigError: When there is none of that name.
    """
    if name == "all":
        return list(EXPERIMENTS.values())
    if name not in EXPERIMENTS:
        msg = f"an experiment must be one of {', '.join(EXPERIMENTS)} or all, however: {name!r}"
        raise ConfigError(msg)
    return [EXPERIMENTS[name]]
