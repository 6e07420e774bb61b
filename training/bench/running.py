"""Runs cells: every method on every seed, in this process or in several."""

import multiprocessing
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

import torch

from training.bench.cell import Cell
from training.bench.judging import Trial, draw, judge
from training.bench.published_training import Pupil, n_together, shape, train_published
from training.bench.results import CellResult, summarise
from training.bench.served import served
from training.bench.solving import Answer, solve_exact

EXACT_METHOD = "exact"
SERVED_METHOD = "served"

_SEEDS_A_JOB = {EXACT_METHOD: 10, SERVED_METHOD: 100}
"""Seeds of one cell that one job takes; the service starts once a job. Published recipes take several cells at once."""


@dataclass(frozen=True)
class Job:
    """Seeds of cells for one method.

    Attributes:
        method: `EXACT_METHOD`, `SERVED_METHOD` or the name of a published recipe.
        trials: Cells and seeds.
        n_iterations: Steps of a published recipe.
    """

    method: str
    trials: tuple[tuple[Cell, int], ...]
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


def jobs_of(cells: Sequence[Cell], methods: Sequence[str], n_seeds: int, n_iterations: int) -> list[Job]:
    """Return the jobs of cells; published recipes take part where something is to be learned, without noise."""
    jobs = []
    for cell in cells:
        for method in methods:
            if method in _SEEDS_A_JOB:
                jobs += _cut(method, [cell], n_seeds, _SEEDS_A_JOB[method], n_iterations)
    learnable = [cell for cell in cells if cell.task in ("single", "dataset")]
    for _, group in groupby(sorted(learnable, key=shape), shape):
        of_shape = list(group)
        for method in methods:
            if method not in _SEEDS_A_JOB:
                jobs += _cut(method, of_shape, n_seeds, n_together(of_shape[0]), n_iterations)
    return jobs


def _cut(method: str, cells: Sequence[Cell], n_seeds: int, n_a_job: int, n_iterations: int) -> list[Job]:
    trials = [(cell, seed) for cell in cells for seed in range(n_seeds)]
    return [
        Job(method, tuple(trials[start : start + n_a_job]), n_iterations) for start in range(0, len(trials), n_a_job)
    ]


def run(jobs: Sequence[Job], progress: Progress, n_processes: int) -> list[CellResult]:
    """Run jobs.

    Args:
        jobs: The jobs, all seeds of a cell and method together.
        progress: Told about every job.
        n_processes: Processes; 1 for this one.

    Returns:
        One result a cell and method, the methods of a cell side by side, in the order of the jobs.
    """
    torch.set_num_threads(1)
    waiting = Counter((cell, job.method) for job in jobs for cell, _ in job.trials)
    gathered: dict[tuple[Cell, str], list[Trial]] = {key: [] for key in waiting}
    results: dict[tuple[Cell, str], CellResult] = {}
    progress.start(sum(len(job.trials) for job in jobs))
    for job, trials in _done(jobs, n_processes):
        progress.advance(job, trials)
        for (cell, _), trial in zip(job.trials, trials, strict=True):
            key = cell, job.method
            gathered[key].append(trial)
            if len(gathered[key]) == waiting[key]:
                results[key] = summarise(cell, job.method, sorted(gathered[key], key=lambda one: one.seed))
                progress.finish_cell(results[key])
    order = {cell: position for position, (cell, _) in reversed(list(enumerate(waiting)))}
    return [results[key] for key in sorted(waiting, key=lambda key: order[key[0]])]


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
    pupils = [Pupil(cell, draw(cell, seed), seed) for cell, seed in job.trials]
    if job.method not in _SEEDS_A_JOB:
        return _judged(pupils, train_published(job.method, pupils, job.n_iterations), first_order=True)
    answers = [solve_exact(one.cell, one.problem, one.seed) for one in pupils]
    if job.method == EXACT_METHOD:
        return _judged(pupils, answers, first_order=False)
    with served([one.problem for one in pupils], answers) as asking:
        return _judged(pupils, asking, first_order=False)


def _judged(pupils: Sequence[Pupil], answers: Sequence[Answer], *, first_order: bool) -> list[Trial]:
    return [
        judge(one.cell, one.problem, one.seed, answer, first_order=first_order)
        for one, answer in zip(pupils, answers, strict=True)
    ]
