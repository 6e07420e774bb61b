"""Which cells a benchmark runs."""

from dataclasses import dataclass

from training.bench import arithmetic_dataset, compositions, controls, noise, single_module
from training.bench.cell import RANGES, Cell
from training.errors import ConfigError
from training.tasks.arithmetic import OPERATIONS

TASKS = ("single", "dataset", "ablations", "noise", "compositions", "controls")

_QUICK_RANGES = ("-2:2", "0:0.0001", "1:2")


@dataclass(frozen=True)
class Plan:
    """What is asked for.

    Attributes:
        tasks: Names of `TASKS`, or "all".
        operations: Names of operations; None for all.
        ranges: Names of ranges; None for all.
        n_inputs: Inputs of the single module task.
        quick: Whether a minute must do.
    """

    tasks: tuple[str, ...] = ("all",)
    operations: tuple[str, ...] | None = None
    ranges: tuple[str, ...] | None = None
    n_inputs: tuple[int, ...] = single_module.N_INPUTS
    quick: bool = False


def planned_cells(plan: Plan) -> list[Cell]:
    """Return the cells of a plan.

    Raises:
        ConfigError: When a name is unknown, or nothing is left to run.
    """
    operations = plan.operations or tuple(OPERATIONS)
    ranges = plan.ranges or (_QUICK_RANGES if plan.quick else tuple(RANGES))
    _check("a task", plan.tasks, ("all", *TASKS))
    _check("an operation", operations, tuple(OPERATIONS))
    _check("a range", ranges, tuple(RANGES))
    if any(number < 2 for number in plan.n_inputs):
        msg = f"inputs must be at least 2, however: {plan.n_inputs}"
        raise ConfigError(msg)
    tasks = TASKS if "all" in plan.tasks else plan.tasks
    found: list[Cell] = []
    if "single" in tasks:
        found += single_module.cells(operations, ranges, plan.n_inputs)
    if "dataset" in tasks:
        found += arithmetic_dataset.cells(operations, ranges)
    if "ablations" in tasks and not plan.quick:
        found += arithmetic_dataset.ablations()
    if "noise" in tasks:
        found += noise.cells(operations, ranges)
    if "compositions" in tasks:
        found += compositions.cells(ranges)
    if "controls" in tasks:
        found += controls.cells(ranges)
    if not found:
        msg = "there must be a cell to run, however no task has any of these operations and ranges"
        raise ConfigError(msg)
    return found


def _check(what: str, names: tuple[str, ...], known: tuple[str, ...]) -> None:
    for name in names:
        if name not in known:
            msg = f"{what} must be one of {', '.join(known)}, however: {name}"
            raise ConfigError(msg)
