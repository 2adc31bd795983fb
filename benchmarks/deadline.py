"""How late plans are: random deadlines on the wall clock, and when each plan was really done.

No iteration starts that is predicted to end after the deadline; this says how good the predictions are on this
machine, under whatever else it does.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from jepa_ros.bundle.loader import load_bundle
from jepa_ros.planning.factory import make_planner
from jepa_ros.share import default_bundle
from jepa_ros.world_model import OnnxWorldModel
from jepa_ros_benchmarks.plan_problems import made_up_cases, problem_of


def main(
    bundle: Annotated[Path | None, typer.Argument(help="folder of the bundle; the shipped one if none")] = None,
    plans: Annotated[int, typer.Option(min=10, help="how many")] = 500,
    planner: Annotated[str, typer.Option(help="its name; at most 50 iterations a plan")] = "cem",
    longest_ms: Annotated[float, typer.Option(min=1, help="deadlines are drawn from 0 to this")] = 150.0,
    seed: Annotated[int, typer.Option(help="of deadlines, problems and samples")] = 0,
    json_out: Annotated[Path | None, typer.Option("--json", help="write every plan's figures here")] = None,
) -> None:
    """Plan against random deadlines and report the lateness."""
    opened = load_bundle(bundle or default_bundle())
    model = OnnxWorldModel(opened)
    planning = make_planner(opened.manifest, model, {"name": planner, "iterations": 50}, seed)
    rng = np.random.default_rng(seed)
    problems = [problem_of(model, case, planning.horizon) for case in made_up_cases(model, 16, planning.horizon, seed)]
    for problem in problems[:3]:  # compile, and learn how long an iteration takes
        planning.plan(problem)
    rows = []
    for number in track(range(plans), description="planning"):
        given = rng.uniform(0, longest_ms) / 1e3
        until = time.perf_counter() + given
        plan = planning.plan(problems[number % len(problems)], lambda until=until: until - time.perf_counter())
        late = time.perf_counter() - until
        rows.append({"given_ms": given * 1e3, "late_ms": late * 1e3, "done": plan.iterations, "stopped": plan.stopped})
    late = np.array([row["late_ms"] for row in rows])
    table = Table(title=f"{planner}, {plans} deadlines from 0 to {longest_ms:g} ms")
    for column in ("late plans", "lateness of those, p50 / p99 / max ms", "time left over, p50 ms", "ended by"):
        table.add_column(column)
    over = late[late > 0]
    shown = " / ".join(f"{value:.1f}" for value in np.percentile(over, [50, 99, 100])) if over.size else "–"
    ended = ", ".join(f"{reason} {count}" for reason, count in Counter(row["stopped"] for row in rows).most_common())
    table.add_row(f"{over.size} ({over.size / plans:.1%})", shown, f"{np.median(-late[late <= 0]):.1f}", ended)
    Console().print(table)
    if json_out is not None:
        json_out.write_text(json.dumps(rows, indent=1))
