"""Runs cells: every method on every seed, in this process or in several."""

import multiprocessing
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Protocol

import torch

from training.bench.cell import Cell, Problem
from training.bench.judging import Trial, draw, judge
from training.bench.published_recipes import train_published
from training.bench.results import CellResult, summarise
from training.bench.served import served
from training.bench.solving import Answer, solve_exact

EXACT_METHOD = "exact"
SERVED_METHOD = "served"

_SEEDS_A_JOB = {EXACT_METHOD: 10, SERVED_METHOD: 100}
"""Seeds that one job takes; the service starts once a job. Of published recipes it is one: half a minute each."""


@dataclass(frozen=True)
class Job:
    """Seeds of one cell for one method.

    Attributes:
        cell: The cell.
        method: `EXACT_METHOD`, `SERVED_METHOD` or the name of a published recipe.
        seeds: The seeds.
        n_iterations: Steps of a published recipe.
    """

    cell: Cell
    method: str
    seeds: tuple[int, ...]
    n_iterations: int


class Progress(Protocol):
    """Told how far a benchmark is."""

    def start(self, n_trials: int) -> None:
        """Begin."""
        ...

    def advance(self, job: Job, trials: Sequence[Trial]) -> None:
        """Report trials that are done."""
        ...

    def finish_cell(self, result: CellResult) -> None:
        """Report a cell that is done."""
        ...


def jobs_of(cells: Iterable[Cell], methods: Sequence[str], n_seeds: int, n_iterations: int) -> list[Job]:
    """Return the jobs of cells; published recipes take part where something is to be learned, without noise."""
    jobs = []
    for cell in cells:
        for method in methods:
            if method not in _SEEDS_A_JOB and cell.task not in ("single", "dataset"):
                continue
            step = _SEEDS_A_JOB.get(method, 1)
            jobs += [
                Job(cell, method, tuple(range(start, min(start + step, n_seeds))), n_iterations)
                for start in range(0, n_seeds, step)
            ]
    return jobs


def run(jobs: Sequence[Job], progress: Progress, n_processes: int) -> list[CellResult]:
    """Run jobs.

    Args:
        jobs: The jobs, all seeds of a cell and method together.
        progress: Told about every job.
        n_processes: Processes; 1 for this one.

    Returns:
        One result a cell and method, in the order of the jobs.
    """
    torch.set_num_threads(1)
    waiting: dict[tuple[Cell, str], int] = {}
    for job in jobs:
        key = job.cell, job.method
        waiting[key] = waiting.get(key, 0) + 1
    gathered: dict[tuple[Cell, str], list[Trial]] = {key: [] for key in waiting}
    results: dict[tuple[Cell, str], CellResult] = {}
    progress.start(sum(len(job.seeds) for job in jobs))
    for job, trials in _done(jobs, n_processes):
        key = job.cell, job.method
        gathered[key] += trials
        waiting[key] -= 1
        progress.advance(job, trials)
        if not waiting[key]:
            results[key] = summarise(job.cell, job.method, sorted(gathered[key], key=lambda trial: trial.seed))
            progress.finish_cell(results[key])
    return [results[key] for key in waiting]


def _done(jobs: Sequence[Job], n_processes: int) -> Iterator[tuple[Job, list[Trial]]]:
    if n_processes == 1:
        for job in jobs:
            yield job, run_job(job)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n_processes, context, torch.set_num_threads, (1,)) as pool:
        running = {pool.submit(run_job, job): job for job in jobs}
        try:
            for future in as_completed(running):
                yield running[future], future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def run_job(job: Job) -> list[Trial]:
    """Run one job."""
    problems = [draw(job.cell, seed) for seed in job.seeds]
    if job.method not in _SEEDS_A_JOB:
        answers = [
            train_published(job.method, job.cell, problem, seed, job.n_iterations)
            for problem, seed in zip(problems, job.seeds, strict=True)
        ]
        return _judged(job, problems, answers, first_order=True)
    answers = [solve_exact(job.cell, problem, seed) for problem, seed in zip(problems, job.seeds, strict=True)]
    if job.method == EXACT_METHOD:
        return _judged(job, problems, answers, first_order=False)
    with served(problems, answers) as asking:
        return _judged(job, problems, asking, first_order=False)


def _judged(job: Job, problems: Sequence[Problem], answers: Sequence[Answer], *, first_order: bool) -> list[Trial]:
    return [
        judge(job.cell, problem, seed, answer, first_order=first_order)
        for problem, seed, answer in zip(problems, job.seeds, answers, strict=True)
    ]
