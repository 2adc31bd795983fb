"""Where the jobs of a batch run: in processes of this machine, or on a Ray cluster."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import queue
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import cv2

from jepa_ros.errors import JepaRosError
from jepa_ros_replay.jobs import Job, Replay, Row, failed, run_job

_POLL_S = 0.1
_DIED = "the process that replayed it died (out of memory?)"
_progress: Any = None  # of this worker process: where it tells how far it is

# Told of a job's folder name and how much of it is done, 0…1.
OnProgress = Callable[[str, float], None]


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_local(jobs: Sequence[Job], replay: Replay, workers: int, on_progress: OnProgress) -> Iterator[Row]:
    """Rows as they get ready, from so many processes.

    A process that dies takes down the pool, and nothing says whose it was. So what was not done is then run one by one,
    each in a process of its own, and only the bag that kills its process again is given up.
    """
    done: set[str] = set()
    for row in _run_pool(jobs, replay, workers, on_progress):
        done.add(row.name)
        yield row
    for job in jobs:
        if job.folder.name not in done:
            yield next(iter(list(_run_pool([job], replay, 1, on_progress))), failed(job, _DIED))


def _run_pool(jobs: Sequence[Job], replay: Replay, workers: int, on_progress: OnProgress) -> Iterator[Row]:
    """Rows of those jobs that were done before a process died, if one did."""
    context = multiprocessing.get_context("spawn")
    told: Any = context.Queue()
    pool = ProcessPoolExecutor(min(workers, len(jobs)), context, initializer=_begin_worker, initargs=(told,))
    try:
        waiting: set[Future[Row]] = {pool.submit(_run_in_worker, job, replay) for job in jobs}
        while waiting:
            finished, waiting = wait(waiting, _POLL_S, FIRST_COMPLETED)
            _drain(told, on_progress)
            for future in finished:
                try:
                    yield future.result()
                except BrokenProcessPool:
                    continue
    except BrokenProcessPool:  # it died while jobs were still being handed out
        return
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin_worker(told: Any) -> None:
    global _progress  # noqa: PLW0603  a worker's only state; ProcessPoolExecutor has no other place for it
    _progress = told
    told.cancel_join_thread()  # what nobody reads any more must not keep the process alive
    cv2.setNumThreads(1)  # a core each


def _run_in_worker(job: Job, replay: Replay) -> Row:
    return run_job(job, replay, lambda part: _progress.put((job.folder.name, part)))


def _drain(told: Any, on_progress: OnProgress) -> None:
    while True:
        try:
            name, part = told.get_nowait()
        except queue.Empty:
            return
        on_progress(name, part)


def run_ray(jobs: Sequence[Job], replay: Replay, workers: int | None, on_progress: OnProgress) -> Iterator[Row]:
    """The same on Ray: on the cluster that RAY_ADDRESS names, else on one started here. Every machine must see the
    bags, the bundle and the output under the same paths. Progress is told a bag at a time.

    Args:
        workers: at most so many at a time; None leaves it to Ray, which gives each a core.

    Raises:
        JepaRosError: Ray is not installed, or cannot be reached.
    """
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError as error:
        raise JepaRosError("engine ray: Ray is not installed here; run pip install 'jepa_ros[ray]'") from error
    mine = not ray.is_initialized()
    if mine:
        try:
            ray.init(log_to_driver=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise JepaRosError(f"engine ray: Ray cannot be started or reached: {error}") from error
    try:
        task = ray.remote(num_cpus=1)(_run_on_ray)
        left = list(reversed(jobs))
        running: dict[Any, Job] = {}
        while left or running:
            while left and (workers is None or len(running) < workers):
                job = left.pop()
                running[task.remote(job, replay)] = job
            ready, _ = ray.wait(list(running), num_returns=1)
            for reference in ready:
                job = running.pop(reference)
                try:
                    row: Row = ray.get(reference)
                except ray.exceptions.RayError as error:
                    row = failed(job, f"Ray could not finish it: {str(error).strip().splitlines()[-1]}")
                on_progress(job.folder.name, 1.0)
                yield row
    finally:
        if mine:
            ray.shutdown()


def _run_on_ray(job: Job, replay: Replay) -> Row:
    cv2.setNumThreads(1)
    return run_job(job, replay)
