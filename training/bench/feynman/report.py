"""The benchmark on equations on the terminal, as a page and as a figure, all made from the results kept."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from training.bench.documents import read
from training.bench.feynman.methods import OURS
from training.bench.feynman.running import EXACT, N_ROWS, Result
from training.bench.feynman.summary import ALGEBRAIC, GOOD, MethodSummary, from_document, recovered, summarise
from training.bench.kept import table
from training.errors import ConfigError
from training.tasks.physics import STRUCTURES

PAGE, FIGURE = "benchmark-feynman.md", "figures/feynman.svg"

_INTRODUCTION = f"""# The benchmark on physics equations

This page is made by `nalu bench feynman --report` from the results in `benchmarks/results/feynman`; do not edit it.

`nalu bench feynman` fits every equation of the AI-Feynman file to {N_ROWS:,} rows drawn from the ranges that it states, without noise and with 1 %.
It reports how many formulas are recovered exactly, and the errors inside and outside the ranges beside peers that get the same rows.

```sh
nalu bench feynman --keep kept.jsonl --json benchmarks/results/feynman/all.json
nalu bench feynman --own --method search
nalu bench feynman --report
```

The file is `feynman_equations.csv` in `NALU_DATA_DIR`, or what `--data` names; `--own` takes seven equations made here.
It is that of Udrescu and Tegmark, "AI Feynman", Science Advances 6 (2020), [doi:10.1126/sciadv.aay2631](https://doi.org/10.1126/sciadv.aay2631), `FeynmanEquations.csv`.
Its formulas are parsed, never run.

- **Inside** are {N_ROWS:,} fresh rows of the stated ranges.
- **Outside** are {N_ROWS:,} rows of ranges twice as wide, from *low* to *low + 2 (high − low)*, at least one input beyond *high*; rows where the equation has no result are left out.
- **1 % noise** is Gaussian, its standard deviation 1 % of the root mean square of the results, as in the paper above; results to be judged by have none.
- **Recovered** means that the search says so and every row inside and outside is right to a relative error of {EXACT:g}, numbers such as 1 / 4π included.
- **Peers** are those of [`nalu bench table`](benchmark-tables.md) at its settings, the perceptron (MLP) with three hidden layers of 256 and early stopping; the table below has those that were run.

The search is `fit_exact` with all its structures and [factored laws](exact-arithmetic.md#factored-laws); where it finds no law, its answer is the approximation that it names.
Nothing is told which equation it is, and rows outside choose nothing.
"""  # noqa: E501 - one sentence a line


def print_summary(console: Console, results: Sequence[Result]) -> None:
    """Print one row a method and noise, and formulas recovered by structure."""
    shown = Table(title="nalu bench feynman", title_justify="left")
    for name in _HEADER:
        shown.add_column(name, justify="left" if name in ("Method", "Noise") else "right")
    for one in summarise(results):
        shown.add_row(*_row(one))
    console.print(shown)
    for noise in sorted({one.noise for one in results}):
        of_noise = [one for one in results if one.noise == noise]
        parts = []
        for structure, what in STRUCTURES.items():
            n_exact, n = recovered(of_noise, [structure])
            if n:
                parts.append(f"{what} {n_exact}/{n}")
        if parts:
            console.print(f"recovered exactly, {_noise(noise)}: {', '.join(parts)}")


_HEADER = (
    *("Method", "Noise", "Recovered", "False laws", "R² inside", "R² outside", f"R² outside ≥ {GOOD:g}"),
    *("Relative error outside", "Seconds (max)"),
)


def _row(one: MethodSummary) -> list[str]:
    own = one.method == OURS
    return [
        one.method,
        _noise(one.noise),
        f"{one.n_exact}/{one.n_equations}",
        f"{one.n_false}" if own else "",
        _share(one.r2_inside),
        _share(one.r2_outside),
        f"{one.n_good}/{one.n_equations}",
        f"{one.error_outside:.2g}",
        f"{one.seconds[0]:.2g} ({one.seconds[1]:.2g})",
    ]


def _noise(noise: float) -> str:
    return f"{noise:.0%} noise" if noise else "no noise"


def _share(value: float | None) -> str:
    """Return a coefficient of determination; one that is nearly 1 shows how nearly, a huge one its size."""
    if value is None or not np.isfinite(value):
        return "not finite"
    if value <= -1000:
        return f"{value:.1e}"
    if value > 0.999 and value < 1:
        return f"1 − {1 - value:.0e}"
    return f"{value:.3f}"


def told(result: Result) -> str:
    """Return a result as one line."""
    what = "recovered" if result.exact else "a false law" if result.found else "not recovered"
    outside = _share(result.r2_outside)
    formula = f": {result.formula[:120]}" if result.formula else ""
    return (
        f"{result.equation} ({result.structure}), {_noise(result.noise)}, seed {result.seed}: {result.method} {what}, "
        f"R² outside {outside}, {result.seconds:.1f} s{formula}"
    )


def read_documents(folder: Path) -> tuple[list[Result], list[dict[str, Any]]]:
    """Return the results of a folder, and the documents that they are from.

    Raises:
        ConfigError: When there is none, or a file is none of this benchmark's.
    """
    documents = [read(path) for path in sorted(folder.glob("*.json"))]
    if not documents:
        msg = f"there must be results to report, however {folder} has no JSON file; run `nalu bench feynman --json`"
        raise ConfigError(msg)
    try:
        return [one for document in documents for one in from_document(document)], documents
    except (KeyError, TypeError) as error:
        msg = f"results must be those of `nalu bench feynman`, however {folder}: {error}"
        raise ConfigError(msg) from error


def render(results: Sequence[Result], documents: Sequence[dict[str, Any]]) -> str:
    """Return the page."""
    noises = sorted({one.noise for one in results})
    parts = [_INTRODUCTION, "## What came out", _claims(results)]
    parts.append(table(_HEADER, [_row(one) for one in summarise(results)]))
    parts.append("Medians are over equations; a result that is not finite counts as the worst.")
    parts.append(f"![Share of equations by R² outside]({FIGURE})")
    parts.append("## Recovered by structure")
    rows = [
        [what, f"`{structure}`", *("{}/{}".format(*recovered(_of(results, noise), [structure])) for noise in noises)]
        for structure, what in STRUCTURES.items()
    ]
    rows.append(["M, S and R together", "", *("{}/{}".format(*recovered(_of(results, noise))) for noise in noises)])
    parts.append(table(["Structure", "", *map(_noise, noises)], rows))
    parts.append(
        "The structure is read from the formula: M and S have no sum below a quotient or a root, "
        "T has a function other than the square root.\n"
        "A law found through noise is the simplest that the rows cannot tell from the truth, and has no certificate.\n"
        "Where a law is right, but not surer than 20 to 1, the search calls it an approximation."
    )
    parts.append(_missed(results))
    parts.append("## Every equation\n\nR² outside, or *exact* where the formula is recovered.")
    for noise in noises:
        parts += [f"### With {_noise(noise)}", _every(results, noise)]
    parts.append(_runs(documents))
    return "\n\n".join(part for part in parts if part) + "\n"


def _of(results: Sequence[Result], noise: float) -> list[Result]:
    return [one for one in results if one.noise == noise]


def _claims(results: Sequence[Result]) -> str:
    rows = []
    for noise, bound in ((0.0, 0.95), (0.01, 0.85)):
        n_exact, n = recovered(_of(results, noise))
        if n:
            what = f"M, S and R recovered exactly, {_noise(noise)}"
            rows.append([what, f"≥ {bound:.0%}", f"{n_exact}/{n} = {n_exact / n:.1%}", _yes(n_exact >= bound * n)])
    for noise in sorted({one.noise for one in results}):
        summaries = summarise(_of(results, noise))
        own = next((one for one in summaries if one.method == OURS), None)
        if own is None:
            continue
        what = f"all equations, median R² outside, {_noise(noise)}"
        rows.append([what, "≥ 0.999", _share(own.r2_outside), _yes(own.r2_outside >= 0.999)])
        peers = [one for one in summaries if one.method != OURS and one.n_equations == own.n_equations]
        if peers:
            best = max(peers, key=lambda one: one.n_good)
            rows.append(
                [
                    f"equations with R² outside ≥ {GOOD:g}, {_noise(noise)}",
                    "more than any peer",
                    f"{own.n_good} ({best.method}: {best.n_good})",
                    _yes(own.n_good > best.n_good),
                ]
            )
        rows.append(
            [
                f"false laws said to be proven, {_noise(noise)}",
                "0",
                str(own.n_false_proofs),
                _yes(not own.n_false_proofs),
            ]
        )
    return table(["To reach", "Bound", "Measured", "Met"], rows)


def _yes(met: bool) -> str:
    return "yes" if met else "**no**"


def _missed(results: Sequence[Result]) -> str:
    missed = [one for one in results if one.method == OURS and not one.exact]
    own = [one for one in missed if one.structure in ALGEBRAIC or one.found]
    if not own:
        return ""
    rows = [
        [
            one.equation,
            one.structure,
            _noise(one.noise),
            "a law, but not the equation's" if one.found else "an approximation",
            _share(one.r2_outside),
            f"`{_short(one.formula)}`",
        ]
        for one in own
    ]
    return "Missed among M, S and R, and laws that are not the equation's:\n\n" + table(
        ["Equation", "", "Noise", "Answer", "R² outside", "Formula"], rows
    )


def _every(results: Sequence[Result], noise: float) -> str:
    first = [one for one in results if one.seed == 0 and one.noise == noise]
    methods = list(dict.fromkeys(one.method for one in first))
    at = {(one.equation, one.method): one for one in first}
    rows = []
    for name, structure in dict.fromkeys((one.equation, one.structure) for one in first):
        here = [at.get((name, method)) for method in methods]
        cells = ["" if one is None else "exact" if one.exact else _share(one.r2_outside) for one in here]
        own = at.get((name, OURS))
        formula = f"`{_short(own.formula)}`" if own is not None and own.exact else ""
        rows.append([name, structure, *cells, formula])
    return table(["Equation", "", *methods, "Formula found"], rows)


def _short(formula: str) -> str:
    return formula if len(formula) <= 110 else formula[:107] + "…"


def _runs(documents: Sequence[dict[str, Any]]) -> str:
    lines = [
        f"`{one['command']}`, {one['created'][:10]}; fits and predictions took "
        f"{sum(result['seconds'] for result in one['results']):,.0f} s of one core's time on "
        f"{one['machine']['processor']}, NumPy {one['machine']['versions'].get('numpy', '?')}."
        for one in documents
    ]
    return "\n".join(lines)


def figure_svg(results: Sequence[Result]) -> bytes:
    """Return the share of equations whose R² outside is at least so much, one line a method, one panel a noise."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    noises = sorted({one.noise for one in results})
    methods = list(dict.fromkeys(one.method for one in results))
    figure = Figure(figsize=(4.2 * len(noises) + 0.6, 4.0), layout="constrained")
    FigureCanvasSVG(figure)
    panels = figure.subplots(1, len(noises), sharey=True, squeeze=False)[0]
    for panel, noise in zip(panels, noises, strict=True):
        for number, method in enumerate(methods):
            own = [one for one in _of(results, noise) if one.method == method]
            if not own:
                continue
            lack = [1.0 if one.r2_outside is None else min(max(1 - one.r2_outside, 1e-12), 1.0) for one in own]
            ordered = np.sort(lack)
            share = 100 * np.arange(1, len(ordered) + 1) / len(ordered)
            keep = ordered < 1
            panel.step(
                [*ordered[keep], 1.0], [*share[keep], float(share[keep][-1]) if keep.any() else 0.0],
                where="post", color=f"C{number}", label=method, linewidth=2 if method == OURS else 1.2,
            )  # fmt: skip
        panel.set_xscale("log")
        panel.set_xlim(1e-12, 1)
        panel.set_ylim(0, 100)
        panel.set_xlabel("1 − R² outside, at most")
        panel.set_title(_noise(noise), fontsize=10)
        panel.axvline(1 - GOOD, color="0.7", linewidth=0.8, linestyle=":")
        panel.grid(alpha=0.25)
    panels[0].set_ylabel("equations, %")
    lines = panels[0].get_legend_handles_labels()
    figure.legend(*lines, loc="outside lower center", ncols=5, frameon=False, fontsize=8)
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "nalu"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def write_report(results: Path, docs: Path, *, check: bool = False) -> list[Path]:
    """Write the page and the figure, or only see whether the page is as it should be.

    Args:
        results: Folder of documents.
        docs: Folder of the page.
        check: Whether to change nothing.

    Returns:
        The files.

    Raises:
        ConfigError: When there are no results, or with `check` the page is not as made from them.
    """
    found, documents = read_documents(results)
    files = {docs / PAGE: render(found, documents).encode(), docs / FIGURE: figure_svg(found)}
    for path, content in files.items():
        if check and (not path.is_file() or path.read_bytes() != content):
            msg = (
                f"a page must show the results of {results}, however {path} differs; run `nalu bench feynman --report`"
            )
            raise ConfigError(msg)
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return list(files)
