"""The `nalu bench` commands. Importing this module is light; torch is imported by the command that runs."""

import shlex
import sys
import time
from pathlib import Path
from typing import Annotated, Literal

import typer

from training.terminal import console, table_console
from training.threads import hold_to_one_thread

bench_app = typer.Typer(help="Run the field's benchmarks.", no_args_is_help=True, callback=hold_to_one_thread)

_QUICK_SEEDS = 2


@bench_app.command("arithmetic")
def arithmetic(
    task: Annotated[
        list[str] | None,
        typer.Option("--task", help="single, dataset, ablations, noise, compositions, controls or all; repeatable."),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Seeds a cell.", min=1, max=10_000)] = 20,
    ranges: Annotated[str | None, typer.Option(help="Ranges, such as 1:2,-2:2. [default: all]")] = None,
    operations: Annotated[
        str | None, typer.Option(help="Operations, such as multiply,divide. [default: all seven]")
    ] = None,
    inputs: Annotated[str, typer.Option(help="Inputs of the single module task.")] = "2,10,100",
    units: Annotated[
        str | None, typer.Option(help="Published modules to train beside the search: nac,nalu,nau,nmu,real_npu.")
    ] = None,
    solver: Annotated[
        Literal["adam"], typer.Option(help="How these are trained: as published, which is Adam.")
    ] = "adam",
    iterations: Annotated[int, typer.Option(help="Steps of a published recipe.", min=1000)] = 50_000,
    search: Annotated[bool, typer.Option(help="Whether the search for the exact law takes part.")] = True,
    through_http: Annotated[
        bool, typer.Option("--through-http", help="Judge the answers of `nalu serve` instead of those in this process.")
    ] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Two seeds a cell and fewer cells: about a minute.")] = False,
    jobs: Annotated[int, typer.Option(help="Processes.", min=1, max=64)] = 1,
    json: Annotated[Path | None, typer.Option("--json", help="File to write all results to.")] = None,
    plot: Annotated[Path | None, typer.Option(help="PNG file to draw the rates to.")] = None,
) -> None:
    """Run the single module task, the arithmetic dataset task, noise, compositions and controls.

    Nothing is told which operation it is, and no choice is made by extrapolation rows. A cell is solved by a seed when
    the mean squared error outside the training range is below that of a solution whose weights are all off by 1e-5.
    """
    from training.bench.documents import write
    from training.bench.plan import Plan, planned_cells
    from training.bench.plot import rates_plot
    from training.bench.published_recipes import check_units
    from training.bench.results import document, peak_memory_mib
    from training.bench.running import EXACT_METHOD, SERVED_METHOD, jobs_of, run
    from training.bench.terminal import BenchProgress, results_table

    plan = Plan(
        tasks=tuple(task or ["all"]),
        operations=_listed(operations),
        ranges=_listed(ranges),
        n_inputs=tuple(int(number) for number in _listed(inputs) or ()),
        quick=quick,
    )
    recipes = _listed(units) or ()
    check_units(recipes)
    own = (SERVED_METHOD if through_http else EXACT_METHOD,) if search else ()
    work = jobs_of(planned_cells(plan), [*own, *recipes], min(seeds, _QUICK_SEEDS) if quick else seeds, iterations)
    if recipes:
        console.print(
            f"{', '.join(recipes)} by {solver}, {iterations} steps a seed; 50,000 take a minute or two on one core, "
            "for up to 128 networks on two inputs together"
        )
    started = time.perf_counter()
    with BenchProgress(console) as progress:
        results = run(work, progress, jobs)
    duration_s = time.perf_counter() - started
    wide = table_console()
    wide.print(results_table(results, wide.width))
    ours = [result for result in results if result.method in own]
    if ours:
        n_solved, n_seeds = sum(one.n_solved for one in ours), sum(one.n_seeds for one in ours)
        console.print(f"{n_solved} of {n_seeds} solved by the search")
    console.print(f"{duration_s:.1f} s, peak memory {peak_memory_mib():.0f} MiB")
    if json is not None:
        write(json, document(results, command=_command(), duration_s=duration_s))
    if plot is not None:
        plot.write_bytes(rates_plot(results))


def _listed(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(part.strip() for part in text.split(",") if part.strip())


def _command() -> str:
    return shlex.join(["nalu", *sys.argv[1:]])


@bench_app.command("solver")
def solver_ablations(
    part: Annotated[
        list[str] | None, typer.Option(help="snapping, precision, loss or restarts; repeatable. [default: all]")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Seeds a cell.", min=1, max=10_000)] = 10,
    json: Annotated[Path | None, typer.Option("--json", help="File to write all results to.")] = None,
) -> None:
    """Vary the parts of the search: snapping, precision, loss, restarts."""
    from training.bench.documents import write
    from training.bench.results import document
    from training.bench.solver_ablations import Row, ablate

    def tell(row: Row) -> None:
        error = "" if row.error is None else f", largest relative error {row.error:.2g}"
        console.print(f"{row.ablation}: {row.setting}; {row.what}: {row.n_solved} of {row.n_seeds}{error}")

    started = time.perf_counter()
    rows = ablate(part or (), seeds, tell)
    if json is not None:
        content = document([], command=_command(), duration_s=time.perf_counter() - started)
        write(json, {**content, "ablations": [row.as_dict() for row in rows]})


@bench_app.command("table")
def table(
    data: Annotated[
        Path | None, typer.Option(help="Folder of data sets with a META.json. [default: NALU_DATA_DIR]")
    ] = None,
    data_set: Annotated[list[str] | None, typer.Option("--set", help="Data set; repeatable. [default: all]")] = None,
    protocol: Annotated[
        list[str] | None,
        typer.Option("--split", help="inside, driver, target, group or time; repeatable. [default: all]"),
    ] = None,
    method: Annotated[
        list[str] | None, typer.Option("--method", help="Method; repeatable. [default: all that are installed]")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Seeds a task.", min=1, max=100)] = 1,
    keep: Annotated[
        Path | None, typer.Option(help="File of JSON lines: what is in it is not run again, new results are added.")
    ] = None,
    only_kept: Annotated[
        bool, typer.Option("--only-kept", help="Run nothing: sum up what the file of --keep holds.")
    ] = False,
    json: Annotated[Path | None, typer.Option("--json", help="File to write all results to.")] = None,
    plot: Annotated[Path | None, typer.Option(help="File to draw every task's errors to, SVG or PNG.")] = None,
) -> None:
    """Compare our model of tables with its peers on real data sets, inside and outside the training range.

    Outside means: fitted up to the 80th percentile of the driving column or of the target, judged above it.
    """
    hold_to_one_thread()
    from training.bench.documents import write
    from training.bench.results import document
    from training.bench.table.data_sets import tasks_of
    from training.bench.table.peers import METHODS, available
    from training.bench.table.protocols import PROTOCOLS
    from training.bench.table.report import as_document, print_summary, told
    from training.bench.table.results import Kept, Result
    from training.bench.table.running import run
    from training.errors import ConfigError
    from training.named_data import data_dir

    for what, asked, known in (("split", protocol, PROTOCOLS), ("method", method, METHODS)):
        unknown = [name for name in asked or () if name not in known]
        if unknown:
            msg = f"a {what} must be one of {', '.join(known)}, however: {', '.join(unknown)}"
            raise ConfigError(msg)
    started = time.perf_counter()
    results = run(
        tasks_of(data or data_dir(), data_set or ()),
        protocol or list(PROTOCOLS),
        method or available(),
        seeds,
        Kept(keep, Result),
        lambda result: console.print(told(result)),
        only_kept=only_kept,
    )
    print_summary(table_console(), results)
    if json is not None:
        content = document([], command=_command(), duration_s=time.perf_counter() - started)
        write(json, {**content, **as_document(results)})
    if plot is not None:
        from training.bench.table.plot import errors_plot

        plot.write_bytes(errors_plot(results, plot.suffix.lstrip(".")))


@bench_app.command("feynman")
def feynman(
    data: Annotated[
        Path | None, typer.Option(help="CSV file of equations. [default: feynman_equations.csv in NALU_DATA_DIR]")
    ] = None,
    own: Annotated[bool, typer.Option("--own", help="Take seven equations made here instead of a file.")] = False,
    equation: Annotated[
        list[str] | None, typer.Option("--equation", help="Equation; repeatable. [default: all]")
    ] = None,
    noise: Annotated[
        list[float] | None,
        typer.Option("--noise", help="Noise of the labels as a share of their root mean square. [default: 0 and 0.01]"),
    ] = None,
    method: Annotated[
        list[str] | None, typer.Option("--method", help="Method; repeatable. [default: all that are installed]")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Seeds an equation.", min=1, max=100)] = 1,
    keep: Annotated[
        Path | None, typer.Option(help="File of JSON lines: what is in it is not run again, new results are added.")
    ] = None,
    json: Annotated[Path | None, typer.Option("--json", help="File to write all results to.")] = None,
    plot: Annotated[Path | None, typer.Option(help="SVG file to draw the errors to.")] = None,
    report: Annotated[bool, typer.Option("--report", help="Run nothing; make the page from the results kept.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="With --report: change nothing; exit 1 where it differs.")
    ] = False,
    results: Annotated[Path, typer.Option(help="Folder of the results kept.")] = Path("benchmarks/results/feynman"),
    docs: Annotated[Path, typer.Option(help="Folder of the page.")] = Path("docs"),
) -> None:
    """Fit physics equations with and without noise, and judge inside and outside of their ranges.

    Counts the formulas recovered exactly, beside the errors of peers on the same rows.
    """
    hold_to_one_thread()
    from training.bench.feynman.report import figure_svg, print_summary, told, write_report

    if report:
        for path in write_report(results, docs, check=check):
            console.print(f"{'checked' if check else 'made'} {path} from {results}")
        return
    from training.bench.documents import write
    from training.bench.feynman.methods import METHODS, available
    from training.bench.feynman.own_equations import OWN
    from training.bench.feynman.running import NOISES, Kept, Result, run
    from training.bench.feynman.summary import as_document
    from training.bench.results import document
    from training.errors import ConfigError
    from training.named_data import data_dir
    from training.progress import StepProgress
    from training.tasks.physics import read_equations

    unknown = [name for name in method or () if name not in METHODS]
    if unknown:
        msg = f"a method must be one of {', '.join(METHODS)}, however: {', '.join(unknown)}"
        raise ConfigError(msg)
    wrong = [level for level in noise or () if not 0 <= level <= 1]
    if wrong:
        msg = f"noise must be a share between 0 and 1, however: {wrong[0]:g}"
        raise ConfigError(msg)
    equations = list(OWN) if own else read_equations(data or data_dir() / "feynman_equations.csv", equation or ())
    if own and equation:
        equations = [one for one in equations if one.name in equation]
    methods, noises = method or available(), noise or list(NOISES)
    started = time.perf_counter()
    with StepProgress(console) as progress:

        def tell(result: Result) -> None:
            if not console.is_terminal:
                console.print(told(result))
            progress.advance(f"{result.equation}: {result.method}")

        progress.start("bench feynman", len(equations) * len(noises) * len(methods) * seeds)
        found = run(equations, noises, methods, seeds, Kept(keep), tell)
    print_summary(table_console(), found)
    if json is not None:
        content = document([], command=_command(), duration_s=time.perf_counter() - started)
        write(json, {**content, **as_document(found)})
    if plot is not None:
        plot.write_bytes(figure_svg(found))


@bench_app.command("trust")
def trust(
    data: Annotated[
        Path | None, typer.Option(help="Folder of data sets with a META.json. [default: NALU_DATA_DIR]")
    ] = None,
    data_set: Annotated[list[str] | None, typer.Option("--set", help="Data set; repeatable. [default: all]")] = None,
    protocol: Annotated[
        list[str] | None,
        typer.Option("--split", help="inside, driver, target, group or time; repeatable. [default: the first three]"),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Seeds a task.", min=1, max=100)] = 1,
    rows: Annotated[int, typer.Option(help="Rows to fit on at most.", min=50, max=10_000)] = 10_000,
    keep: Annotated[
        Path | None, typer.Option(help="File of JSON lines: what is in it is not run again, new results are added.")
    ] = None,
    only_kept: Annotated[
        bool, typer.Option("--only-kept", help="Run nothing: sum up what the file of --keep holds.")
    ] = False,
    json: Annotated[Path | None, typer.Option("--json", help="File to write all results to.")] = None,
) -> None:
    """Measure how far our model of tables can be trusted: rows marked as outside, and coverage of its intervals.

    Outside means: fitted up to the 80th percentile of the driving column or of the target, judged above it.
    """
    hold_to_one_thread()
    from dataclasses import asdict

    from training.bench.documents import write
    from training.bench.results import document
    from training.bench.table.data_sets import tasks_of
    from training.bench.table.protocols import PROTOCOLS
    from training.bench.table.results import Kept
    from training.bench.table.trust import PROTOCOLS as MEASURED
    from training.bench.table.trust import TrustResult, measure
    from training.bench.trust_tables import trust_table
    from training.errors import ConfigError
    from training.named_data import data_dir

    if unknown := [name for name in protocol or () if name not in PROTOCOLS]:
        msg = f"a split must be one of {', '.join(PROTOCOLS)}, however: {', '.join(unknown)}"
        raise ConfigError(msg)
    started = time.perf_counter()
    results = measure(
        tasks_of(data or data_dir(), data_set or ()),
        protocol or MEASURED,
        seeds,
        rows,
        Kept(keep, TrustResult),
        lambda result: console.print(str(result)),
        only_kept=only_kept,
    )
    records = [asdict(result) for result in results]
    console.print(trust_table(records))
    if json is not None:
        content = document([], command=_command(), duration_s=time.perf_counter() - started)
        write(json, {**content, "trust": records})


@bench_app.command("report")
def report(
    results: Annotated[
        Path | None, typer.Option(help="Folder of JSON results. [default: each page's under benchmarks/results]")
    ] = None,
    pages: Annotated[
        list[Path] | None, typer.Option("--page", help="Markdown page whose tables to make anew; repeatable.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Change nothing; exit 1 where a page is not as made.")] = False,
) -> None:
    """Make the tables of the benchmark's pages from the results kept."""
    from training.bench.kept import read_results
    from training.bench.report import PAGES, RESULTS, render
    from training.errors import ConfigError

    for page in pages or list(PAGES):
        folder = results or PAGES.get(page, RESULTS)
        if not page.is_file():
            msg = f"a page must be there, however {page} is not"
            raise ConfigError(msg)
        before = page.read_text(encoding="utf-8")
        after = render(before, read_results(folder))
        if check and after != before:
            msg = f"a page must show the results of {folder}, however {page} differs; run `nalu bench report`"
            raise ConfigError(msg)
        if not check:
            page.write_text(after, encoding="utf-8")
            console.print(f"made the tables of {page} from {folder}")
