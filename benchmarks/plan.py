"""How long does a plan take: this package on ONNX Runtime against the same plan in PyTorch, eager.

    python -m benchmarks.plan --help

Both sides run the same cross-entropy search (same samples, iterations, horizon, cost: mean squared latent distance)
with the same predictor weights and the same number of threads, in turns in one process. PyTorch's side is written the
way research code is: batched tensors on the device, no gradients, a Python loop over the horizon.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table

from jepa_ros.bundle.loader import load_bundle
from jepa_ros.bundle.manifest import CostTerm
from jepa_ros.planning.cost import GoalObjective
from jepa_ros.planning.factory import make_planner
from jepa_ros.planning.problem import History, PlanProblem
from jepa_ros.types import Float32
from jepa_ros.world_model import OnnxWorldModel
from jepa_ros_training.warm_start import load_weights

SHAPES = [("cem", 64, 3, 6), ("cem", 64, 3, 9), ("cem", 256, 4, 15), ("mppi", 64, 2, 15)]
TERMS = (CostTerm(weight=1.0), CostTerm(weight=0.5, steps="last"))
KNOT, ELITES = 3, 8


def eager_cem(
    predictor: torch.nn.Module, low: Float32, high: Float32, samples: int, iterations: int, horizon: int
) -> Callable[[Float32, Float32], Float32]:
    """CEM as research code writes it; returns a function of latents `[T, D]` and goal `[D]`."""
    lower, upper = torch.from_numpy(low), torch.from_numpy(high)
    half, knots = (upper - lower) / 2, -(-horizon // KNOT)

    @torch.inference_mode()
    def plan(latents: Float32, goal: Float32) -> Float32:
        history, target = torch.from_numpy(latents), torch.from_numpy(goal)
        mean, std = torch.zeros(horizon, len(low)), half.expand(horizon, -1)
        best, lowest = mean, torch.inf
        for _ in range(iterations):
            noise = torch.randn(samples, knots, len(low)).repeat_interleave(KNOT, dim=1)[:, :horizon]
            actions = torch.clamp(mean + std * noise, lower, upper)
            context = history.expand(samples, -1, -1)
            past = torch.zeros(samples, context.shape[1], len(low))
            predicted = []
            for h in range(horizon):
                past = torch.cat([past[:, 1:], actions[:, h : h + 1]], 1)
                following = predictor(context, past)
                context = torch.cat([context[:, 1:], following[:, None]], 1)
                predicted.append(following)
            distance = ((torch.stack(predicted, 1) - target) ** 2).mean(-1)
            energy = distance.mean(1) + 0.5 * distance[:, -1]
            order = energy.argsort()
            if energy[order[0]] < lowest:
                lowest, best = energy[order[0]], actions[order[0]]
            elites = actions[order[:ELITES]]
            mean, std = elites.mean(0), torch.maximum(elites.std(0, correction=0), 0.05 * half)
        return best.numpy()

    return plan


def timed(call: Callable[[], object], into: list[float]) -> None:
    """One call, in ms."""
    begin = time.perf_counter()
    call()
    into.append((time.perf_counter() - begin) * 1e3)


def spread(values: list[float]) -> str:
    """Median and the range between the 10th and 90th percentile."""
    low, middle, high = np.percentile(values, [10, 50, 90])
    return f"{middle:.1f} ({low:.1f}–{high:.1f})"


def main(
    bundle: Annotated[Path, typer.Option(help="a bundle of the default family")] = Path("bundles/default"),
    repeats: Annotated[int, typer.Option(min=3, help="plans of each kind")] = 30,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of both sides")] = 1,
    json_out: Annotated[Path | None, typer.Option("--json", help="write the figures here")] = None,
) -> None:
    """Time plans of this package and of PyTorch, eager, side by side."""
    torch.set_num_threads(threads)
    opened = load_bundle(bundle)
    manifest = opened.manifest
    model, predictor = OnnxWorldModel(opened, threads), load_weights(bundle).predictor.eval()
    low, high = (np.array(values, np.float32) for values in (manifest.action.low, manifest.action.high))
    rng = np.random.default_rng(0)
    table = Table(title=f"ms a plan, median (10–90 %) of {repeats}, {threads} thread(s), CPU")
    for column in ("planner", "samples × iterations, horizon", "this package", "PyTorch eager", "ratio"):
        table.add_column(column)
    rows = []
    for name, samples, iterations, horizon in SHAPES:
        settings = {"name": name, "samples": samples, "iterations": iterations, "horizon": horizon, "elites": ELITES}
        planner = make_planner(manifest, model, {**settings, "knot": KNOT, "min_std": 0.05}, seed=0)
        eager = eager_cem(predictor, low, high, samples, iterations, horizon) if name == "cem" else None
        ours: list[float] = []
        theirs: list[float] = []
        for repeat in range(repeats + 3):
            latents = rng.standard_normal((model.context, model.latent_dim)).astype(np.float32)
            goal = rng.standard_normal(model.latent_dim).astype(np.float32)
            past = np.zeros((model.context - 1, len(low)), np.float32)
            problem = PlanProblem(History(latents, past), GoalObjective(model, goal, TERMS), horizon, low, high)
            timed(lambda p=problem, q=planner: q.plan(p), ours)
            if eager is not None:
                timed(lambda z=latents, g=goal, q=eager: q(z, g), theirs)
            if repeat < 3:  # the first few make buffers and warm caches
                ours.clear()
                theirs.clear()
        ratio = np.median(theirs) / np.median(ours) if theirs else None
        shown = (spread(theirs), f"{ratio:.1f}×") if theirs else ("", "")
        table.add_row(name, f"{samples} × {iterations}, {horizon}", spread(ours), *shown)
        rows.append({"planner": name, **settings, "ours_ms": ours, "eager_ms": theirs, "ratio": ratio})
    Console().print(table)
    if json_out is not None:
        json_out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    typer.run(main)
