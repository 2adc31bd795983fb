"""How often does the dog reach what it is shown: closed-loop episodes in the simulator, without ROS, beside yardsticks.

The core is the one that the ROS nodes run. Actions take effect one model step after the image that they were planned
from, as they do on the robot. Success: within 0.25 m and 15° of the goal throughout the last second of 10 s, checked
at 50 Hz.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from jepa_ros.bundle.loader import sha256
from jepa_ros.bundle.manifest import MANIFEST_NAME, read_manifest
from jepa_ros.errors import JepaRosError
from jepa_ros_simulation.collect import STEP_S
from jepa_ros_simulation.controllers import Controller, NoOp, Oracle, PlannerProcess, RandomWalk
from jepa_ros_simulation.dog import DogSim
from jepa_ros_simulation.rooms import Room
from jepa_ros_simulation.tasks import (
    EPISODE_S,
    HELD_S,
    Pose,
    Task,
    errors_to,
    reached,
    read_tasks,
    sample_tasks,
    wilson,
)
from jepa_ros_simulation.walker import Walker

YARDSTICKS = ("noop", "random", "oracle")


@dataclass(frozen=True)
class Job:
    """Some episodes for one process."""

    kind: str
    numbers: list[int]
    tasks: list[Task]
    room: int
    seed: int
    bundle: Path
    overrides: dict[str, Any]
    plans: Path | None = None


def run_episode(walker: Walker, controller: Controller, task: Task, number: int) -> dict[str, Any]:
    """One episode; returns its row: start, goal, 5 Hz poses and actions, end errors, success, whether it fell, whether
    it touched anything (looked at on every tick of the walking policy, 50 Hz)."""
    goal_image = walker.goal_view(*task.goal)
    walker.start(*task.start)
    controller.begin(goal_image, task.goal, number)
    steps, held = round(EPISODE_S / STEP_S), round(HELD_S / STEP_S)
    poses: list[Pose] = []
    actions: list[list[float]] = []
    last_second: list[Pose] = []
    action, touched = np.zeros(3), False
    for step in range(steps):
        poses.append(walker.sim.pose())
        actions.append([round(float(a), 4) for a in action])
        following = controller.act(walker.sim.render(), poses[-1])
        for _ in range(round(STEP_S / walker.tick_s)):
            if step >= steps - held:
                last_second.append(walker.sim.pose())
            walker.drive(action, walker.tick_s)
            # Every tick: a brush against a table leg is over long before the next image.
            touched = touched or walker.sim.status().collision
        action = following
    poses.append(walker.sim.pose())
    last_second.append(poses[-1])
    distance, turn = errors_to(task.goal, poses[-1])
    return {
        "episode": number,
        "start": task.start,
        "goal": task.goal,
        "success": reached(task.goal, last_second),
        "final_distance_m": distance,
        "final_yaw_error_rad": turn,
        "fell": walker.sim.status().fallen,
        "touched": touched,
        "poses": [[round(v, 4) for v in pose] for pose in poses],
        "actions": actions,
    }


def _run(job: Job) -> list[dict[str, Any]]:
    """A job's episodes, in a process of its own."""
    walker = Walker(DogSim(Room(job.room)))
    simple: dict[str, Controller] = {"noop": NoOp(), "random": RandomWalk(job.seed), "oracle": Oracle()}
    planned = PlannerProcess(job.bundle, job.seed, job.overrides, job.plans) if job.kind == "world_model" else None
    rows = []
    with planned or nullcontext():
        controller: Controller = planned or simple[job.kind]
        for number, task in zip(job.numbers, job.tasks, strict=True):
            row = run_episode(walker, controller, task, number)
            if planned:
                row["plan_ms"] = [round(ms, 1) for ms in planned.plan_ms]
                row["energy"] = [round(energy, 4) for energy in planned.energies]
            rows.append(row)
    walker.sim.close()
    return rows


def run_all(jobs: list[Job], workers: int, what: str) -> Iterator[dict[str, Any]]:
    """Run jobs in parallel with a progress bar; yields rows as they come."""
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(_run, job) for job in jobs]
        for future in track(as_completed(futures), description=what, total=len(futures)):
            yield from future.result()


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Rate, interval and end errors of some rows."""
    successes = sum(row["success"] for row in rows)
    low, high = wilson(successes, len(rows))
    return {
        "success_rate": successes / len(rows) if rows else 0.0,
        "ci95": [low, high],
        "episodes": len(rows),
        "median_distance_m": float(np.median([row["final_distance_m"] for row in rows])) if rows else None,
        "median_yaw_error_deg": float(np.degrees(np.median([row["final_yaw_error_rad"] for row in rows])))
        if rows
        else None,
        "falls": sum(row["fell"] for row in rows),
        "touches": sum(row["touched"] for row in rows),
    }


def evaluate(
    tasks: list[Task],
    bundle: Path,
    *,
    room: int,
    seed: int,
    workers: int,
    yardsticks: tuple[str, ...],
    overrides: dict[str, Any],
    source: dict[str, Any],
    plans: Path | None = None,
) -> dict[str, Any]:
    """Evaluate the bundle and the yardsticks on the valid ones among `tasks`.

    Args:
        source: where the tasks are from; kept in the result beside the manifest's hash and the planner's overrides, so
            that figures can be told to be of this bundle as it is.
        plans: folder to write each episode's plans to; None keeps none.

    Raises:
        JepaRosError: a bundle that is refused; said before the first episode where its manifest cannot be read.
    """
    read_manifest(bundle)
    manifest_hash = sha256(bundle / MANIFEST_NAME)
    valid = [(number, task) for number, task in enumerate(tasks) if task.invalid is None]
    results: dict[str, Any] = {}
    for kind in ("world_model", *yardsticks):
        parts = [valid[i : i + 5] for i in range(0, len(valid), 5)]
        jobs = [
            Job(kind, [n for n, _ in part], [t for _, t in part], room, seed, bundle, overrides, plans)
            for part in parts
        ]
        results[kind] = sorted(run_all(jobs, workers, kind), key=lambda row: row["episode"])
    rows = results.pop("world_model")
    plan_ms = [ms for row in rows for ms in row["plan_ms"]]
    return {
        **summary(rows),
        "rule": "within 0.25 m and 15 deg throughout the last second of 10 s",
        "room": room,
        "seed": seed,
        "bundle": bundle.name,
        "manifest_sha256": manifest_hash,
        "planner": overrides,
        "tasks": source,
        "plan_ms": {"p50": float(np.percentile(plan_ms, 50)), "p99": float(np.percentile(plan_ms, 99))}
        if plan_ms
        else None,
        "baselines": {kind: summary(found) for kind, found in results.items()},
        "invalid": [{"episode": n, "reason": task.invalid} for n, task in enumerate(tasks) if task.invalid],
        "rows": rows,
    }


def show(result: dict[str, Any], console: Console) -> None:
    """Print the outcome as a table."""
    table = Table(title=f"room {result['room']}, {result['episodes']} episodes; success: {result['rule']}")
    for column in ("controller", "success", "95 % interval", "median end error", "falls", "touched something"):
        table.add_column(column)
    for name, found in (("world model", result), *result["baselines"].items()):
        if found["episodes"]:
            low, high = found["ci95"]
            end = f"{found['median_distance_m']:.2f} m, {found['median_yaw_error_deg']:.0f}°"
            table.add_row(
                name,
                f"{found['success_rate']:.3f}",
                f"{low:.3f}–{high:.3f}",
                end,
                str(found["falls"]),
                str(found["touches"]),
            )
    console.print(table)


def main(
    bundle: Annotated[Path, typer.Option(help="folder of the bundle")] = Path("bundles/default"),
    episodes: Annotated[int, typer.Option(min=1, help="how many tasks to draw")] = 200,
    seed: Annotated[int, typer.Option(help="of the tasks and of the planner's samples")] = 7,
    goals: Annotated[Path | None, typer.Option(help="JSON list of {start, goal} poses instead of drawn tasks")] = None,
    room: Annotated[int, typer.Option(help="which room (its seed)")] = 0,
    json_out: Annotated[Path | None, typer.Option("--json", help="write the result and every episode here")] = None,
    baselines: Annotated[bool, typer.Option(help="also run noop, random and oracle")] = True,
    workers: Annotated[int, typer.Option(min=1, help="episodes at a time")] = 2,
    planner: Annotated[str, typer.Option(help="planner settings other than the bundle's, as JSON")] = "{}",
    save_plans: Annotated[
        Path | None, typer.Option(help="folder to write each episode's plans to, to train a policy prior on")
    ] = None,
) -> None:
    """Evaluate a bundle on reaching tasks in the simulator, beside no-op, random and ground-truth controllers."""
    console = Console()
    try:
        if goals is not None:
            tasks, rejected = read_tasks(goals, Room(room)), None
            source = {"source": "file", "file": str(goals), "sha256": sha256(goals)}
        else:
            tasks, rejected = sample_tasks(Room(room), episodes, seed)
            source = {"source": "drawn", "seed": seed}
            console.print(f"drawn {len(tasks)} tasks; {rejected:.1%} of draws rejected (in collision or way blocked)")
        for number, task in enumerate(tasks):
            if task.invalid:
                console.print(f"task {number} is invalid and not counted: {task.invalid}")
        chosen = YARDSTICKS if baselines else ()
        result = evaluate(
            tasks,
            bundle,
            room=room,
            seed=seed,
            workers=workers,
            yardsticks=chosen,
            overrides=json.loads(planner),
            source=source,
            plans=save_plans,
        )
    except (JepaRosError, json.JSONDecodeError) as error:
        console.print(f"[red]evaluate: {error}[/red]")
        raise typer.Exit(1) from error
    result["rejection_rate"] = rejected
    show(result, console)
    if result["plan_ms"]:
        console.print(f"plan and encode: p50 {result['plan_ms']['p50']:.0f} ms, p99 {result['plan_ms']['p99']:.0f} ms")
    if json_out is not None:
        json_out.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    typer.run(main)
