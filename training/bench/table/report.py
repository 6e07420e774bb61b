"""Results of the benchmark on tables, for the terminal and as JSON."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from training.bench.table.results import Result
from training.bench.table.summary import geometric_means, ratios


def told(result: Result) -> str:
    """Return a result as one line."""
    error = "overflowed" if result.rmse is None else f"RMSE {result.rmse:.4g}"
    return (
        f"{result.data_set} {result.target}, {result.protocol}, seed {result.seed}: {result.method} {error}, "
        f"{result.n_train} rows, {result.seconds:.1f} s"
    )


def print_summary(console: Console, results: Sequence[Result]) -> None:
    """Print errors over the reference's by task, and geometric means."""
    by_task = ratios(results)
    if not by_task:
        return
    methods = list(dict.fromkeys(one.method for one in results))
    for protocol, means in geometric_means(by_task).items():
        table = Table(title=f"RMSE over LightGBM's, {protocol}", title_justify="left")
        table.add_column("task")
        for name in methods:
            table.add_column(name, justify="right")
        for (kind, data_set, target), row in by_task.items():
            if kind == protocol:
                table.add_row(f"{data_set}: {target}", *(f"{row.get(name, np.nan):.3f}" for name in methods))
        table.add_section()
        table.add_row("geometric mean", *(f"{means.get(name, np.nan):.3f}" for name in methods))
        console.print(table)
        console.print(f"the best peer of each task: {means['best peer of each']:.3f}")


def as_document(results: Sequence[Result]) -> dict[str, Any]:
    """Return results, ratios' geometric means and their tasks as JSON can carry them."""
    return {
        "results": [asdict(one) for one in results],
        "geometric_means": {
            protocol: {method: round(value, 4) for method, value in means.items()}
            for protocol, means in geometric_means(ratios(results)).items()
        },
    }
