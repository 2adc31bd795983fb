"""What a lower precision costs and brings: size, speed, what it does to plans, and how often the goal is reached.

    jepa-bench precision --help

Every bundle is converted anew, as `jepa-export precision` does it. Timings are taken in turns in one process, so that
what else the machine does meets all precisions alike; drives are on the same tasks with the same seeds.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnxruntime
import typer
from rich.console import Console
from rich.table import Table

from jepa_ros.bundle.loader import load_bundle
from jepa_ros.planning.cost import GoalObjective, arrival_term
from jepa_ros.planning.factory import make_planner
from jepa_ros.planning.problem import History, PlanProblem
from jepa_ros.world_model import OnnxWorldModel
from jepa_ros_export.frames import bounds
from jepa_ros_export.precision import Report, Request, lower_bundle
from jepa_ros_simulation.evaluate import evaluate
from jepa_ros_simulation.rooms import Room
from jepa_ros_simulation.tasks import sample_tasks

REQUESTS = {
    "fp16": {"precision": "fp16"},
    "int8 dynamic": {"precision": "int8", "method": "dynamic"},
    "int8 static": {"precision": "int8", "method": "static"},
}
BATCH, ROOM, WARM = 64, 0, 3


def main(
    bundles: Annotated[list[Path] | None, typer.Argument(help="fp32 bundles; default: bundles/default")] = None,
    calibrate: Annotated[
        Path, typer.Option(help="bag or run files: ranges of int8 static, starts and goals of plans")
    ] = Path("bags/go2_room0"),
    repeats: Annotated[int, typer.Option(min=3, help="calls timed, of each kind")] = 200,
    plans: Annotated[int, typer.Option(min=1, help="pairs of start and goal for the change in energy")] = 16,
    episodes: Annotated[int, typer.Option(min=0, help="drives in the simulator at each precision; 0: none")] = 40,
    seed: Annotated[int, typer.Option(help="of the drives' tasks and of the planner's samples")] = 7,
    workers: Annotated[int, typer.Option(min=1, help="drives at a time")] = 2,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of an operator, for the timings")] = 1,
    json_out: Annotated[Path | None, typer.Option("--json", help="write the figures here")] = None,
) -> None:
    """Convert, time, plan and drive at every precision."""
    console, rows = Console(), []
    with tempfile.TemporaryDirectory() as folder:
        for bundle in bundles or [Path("bundles/default")]:
            rows += compare(bundle, Path(folder), calibrate, repeats, plans, episodes, seed, workers, threads)
    for table in (speeds(rows, repeats, threads), changes(rows, plans)):
        console.print(table)
    if episodes:
        console.print(
            f"a drive reaches the goal: {rows[0]['drives']['rule']}; room {ROOM}, seed {seed}; 95 % interval by Wilson"
        )
    if json_out is not None:
        json_out.write_text(json.dumps(rows, indent=1))


def compare(
    bundle: Path,
    folder: Path,
    calibrate: Path,
    repeats: int,
    plans: int,
    episodes: int,
    seed: int,
    workers: int,
    threads: int,
) -> list[dict[str, Any]]:
    """All figures of one bundle, a row for each precision."""
    paths, reports = {"fp32": bundle}, {}
    for name, options in REQUESTS.items():
        paths[name] = folder / f"{bundle.name}-{name.replace(' ', '-')}"
        reports[name] = lower_bundle(bundle, paths[name], Request(calibrate=calibrate, plans=plans, **options))
    times = timed({name: OnnxWorldModel(load_bundle(path), threads) for name, path in paths.items()}, repeats)
    tasks = sample_tasks(Room(ROOM), episodes, seed)[0] if episodes else []
    rows = []
    for name, path in paths.items():
        row = {
            "bundle": bundle.name,
            "precision": name,
            "mb": sum(file.stat().st_size for file in path.rglob("*.onnx")) / 1e6,
            **times[name],
            **change_of(reports.get(name)),
            "drives": None,
        }
        row["mb"] += sum(file.stat().st_size for file in path.rglob("weights.bin")) / 1e6
        if tasks:
            source = {"source": "drawn", "seed": seed}
            row["drives"] = evaluate(
                tasks, path, room=ROOM, seed=seed, workers=workers, yardsticks=(), overrides={}, source=source
            )
        rows.append(row)
    return rows


def timed(models: dict[str, OnnxWorldModel], repeats: int) -> dict[str, dict[str, float]]:
    """Encoder, one prediction of a batch and a whole plan, in turns; ms."""
    calls = {name: calls_of(model) for name, model in models.items()}
    times: dict[str, dict[str, list[float]]] = {name: {kind: [] for kind in found} for name, found in calls.items()}
    for repeat in range(repeats + WARM):
        for name, found in calls.items():
            for kind, call in found.items():
                begin = time.perf_counter()
                call()
                if repeat >= WARM:
                    times[name][kind].append((time.perf_counter() - begin) * 1e3)
    return {
        name: {
            "encode_ms": float(np.median(found["encode"])),
            "predict_ms": float(np.median(found["predict"])),
            "plan_p50_ms": float(np.median(found["plan"])),
            "plan_p99_ms": float(np.percentile(found["plan"], 99)),
        }
        for name, found in times.items()
    }


def calls_of(model: OnnxWorldModel) -> dict[str, Callable[[], object]]:
    """What is timed, by kind."""
    manifest, golden, rng = model.manifest, model.bundle.golden(), np.random.default_rng(0)
    image, measured = golden["image"], golden.get("measured")
    latents = model.encode_batch(image, measured)
    low, high = bounds(manifest)
    actions = rng.uniform(low, high, (BATCH, 1, len(low))).astype(np.float32)
    history = History(latents[:1], np.zeros((0, len(low)), np.float32))
    planner = make_planner(manifest, model, seed=0)
    objective = GoalObjective(model, latents[1], manifest.cost, model.layout, arrival_term(manifest))
    action = manifest.action
    problem = PlanProblem(
        history, objective, planner.horizon, low, high, norm_limit=action.norm_limit, block=action.block
    )
    return {
        "encode": lambda: model.encode(image[0], None if measured is None else measured[0]),
        "predict": lambda: model.rollout(history.latents, history.actions, actions),
        "plan": lambda: planner.plan(problem),
    }


def change_of(report: Report | None) -> dict[str, Any]:
    """What a conversion measured; nothing of fp32."""
    if report is None or report.change is None:
        return {"errors": {}, "change": None}
    change = report.change
    return {"errors": report.errors, "change": {name: getattr(change, name) for name in change.__dataclass_fields__}}


def speeds(rows: list[dict[str, Any]], repeats: int, threads: int) -> Table:
    """Size, time and drives."""
    table = Table(
        title=f"CPU, {threads} thread(s), ONNX Runtime {onnxruntime.__version__}; of {repeats} calls in turns"
    )
    for column in ("bundle", "precision", "MB", "encoder, ms", f"predictor of {BATCH}, ms", "plan, ms: p50, p99"):
        table.add_column(column)
    table.add_column("drives that reach the goal")
    for row in rows:
        drives = "" if row["drives"] is None else reached(row["drives"])
        plan = f"{row['plan_p50_ms']:.0f}, {row['plan_p99_ms']:.0f}"
        times = [f"{row[kind]:.2f}" for kind in ("encode_ms", "predict_ms")]
        table.add_row(row["bundle"], row["precision"], f"{row['mb']:.1f}", *times, plan, drives)
    return table


def changes(rows: list[dict[str, Any]], plans: int) -> Table:
    """What becomes of energies and plans."""
    table = Table(title=f"against fp32, mean of {plans} pairs of start and goal")
    for column in ("bundle", "precision", "energy changes by", "rank correlation", "elites that agree"):
        table.add_column(column)
    table.add_column("energy of a plan, judged by fp32 (of fp32's own, with another seed)")
    for row in rows:
        if (change := row["change"]) is not None:
            cells = [f"{change['energy']:.1e}", f"{change['rank']:.4f}", f"{change['elites']:.0%}"]
            plan = f"{change['lowered']:.4g} ({change['original']:.4g}, {change['reseeded']:.4g})"
            table.add_row(row["bundle"], row["precision"], *cells, plan)
    return table


def reached(drives: dict[str, Any]) -> str:
    """How many, and the interval of the share."""
    low, high = drives["ci95"]
    return f"{round(drives['success_rate'] * drives['episodes'])} of {drives['episodes']}, {low:.2f}–{high:.2f}"
