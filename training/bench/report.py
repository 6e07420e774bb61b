"""Tables of the benchmark's pages, made from the results kept in JSON, so that they cannot say anything else."""

import re
from collections.abc import Callable
from pathlib import Path

from training.bench import method_tables, summary_tables, task_tables, trust_tables
from training.bench.kept import Kept
from training.bench.table import page as tables
from training.errors import ConfigError

RESULTS = Path("benchmarks/results")

PAGES = {
    Path("docs/benchmark-arithmetic.md"): RESULTS,
    Path("docs/exact-arithmetic.md"): RESULTS,
    Path("docs/benchmark-tables.md"): RESULTS / "tables",
    Path("docs/trust.md"): RESULTS / "trust",
}
"""Page → folder of the results that its tables are made from."""

_MARK = re.compile(r"(<!-- table: (?P<name>[a-z -]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)


def render(page: str, kept: Kept) -> str:
    """Return a page with the tables between its markers made anew.

    Raises:
        ConfigError: When a marker has no table.
    """

    def replaced(found: re.Match[str]) -> str:
        name = found["name"]
        if name not in _TABLES:
            msg = f"a table must be one of {', '.join(_TABLES)}, however the page asks for {name!r}"
            raise ConfigError(msg)
        body = _TABLES[name](kept)
        if not body.strip() or body.count("\n") == 1:  # a header and its rule, with no row below
            body = "Not measured yet."
        return f"{found[1]}\n{body}\n\n{found[3]}"

    return _MARK.sub(replaced, page)


_TABLES: dict[str, Callable[[Kept], str]] = {
    "solver snapping": method_tables.solver("snapping"),
    "solver precision": method_tables.solver("precision"),
    "solver loss": method_tables.solver("loss"),
    "solver restarts": method_tables.solver("restarts"),
    "summary": summary_tables.summary,
    "single module": task_tables.single_module,
    "arithmetic dataset": task_tables.dataset,
    "ablations": task_tables.ablations,
    "noise": task_tables.noise,
    "compositions": task_tables.compositions,
    "controls": task_tables.controls,
    "published recipes": method_tables.recipes,
    "served": method_tables.served,
    "thresholds": task_tables.thresholds,
    "runs": summary_tables.runs,
    "trust": trust_tables.trust,
    "trust claims": trust_tables.claims,
    "tables claims": tables.claims,
    "tables claims where set": tables.claims_where_set,
    "tables inside": tables.errors("inside"),
    "tables driver": tables.errors("driver"),
    "tables target": tables.errors("target"),
    "tables group": tables.errors("group"),
    "tables time": tables.errors("time"),
    "tables costs": tables.costs,
    "tables missing": tables.missing,
}
"""Name in the page's marker → table."""
