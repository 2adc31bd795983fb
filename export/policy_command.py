"""`jepa-export policy`: recorded plans distilled into a policy that seeds the planner's samples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import torch
import typer

from jepa_ros.bundle.layout import StateLayout
from jepa_ros.bundle.loader import load_bundle
from jepa_ros.errors import JepaRosError
from jepa_ros.planning.recorded import find_plans, read_plans
from jepa_ros_export.graphs import TOLERANCE
from jepa_ros_export.policy_head import add_policy, check_takes_policy
from jepa_ros_training.policy import (
    PolicyConfig,
    PolicyRecipe,
    bounds_of,
    check_plans,
    errors_of,
    fit_policy,
    split,
)


def policy_command(
    bundle: Annotated[Path, typer.Option(help="folder of the bundle that made the plans")],
    plans: Annotated[list[Path], typer.Option(help="plans.npz, or a folder that holds some; may be repeated")],
    out: Annotated[Path, typer.Option(help="folder of the new bundle: a copy with heads/policy.onnx")],
    policy_samples: Annotated[int, typer.Option(min=1, help="plans that the policy proposes in each search")] = 4,
    width: Annotated[int, typer.Option(min=1, help="of the two hidden layers")] = 256,
    epochs: Annotated[int, typer.Option(min=1, help="most passes over the plans")] = 100,
    batch: Annotated[int, typer.Option(min=2, help="steps of plans in one optimiser step")] = 512,
    learning_rate: Annotated[float, typer.Option(min=1e-9, help="of AdamW")] = 1e-3,
    hold_out: Annotated[
        float, typer.Option(min=0.01, max=0.9, help="share of the plans, the last, that say when to stop")
    ] = 0.1,
    seed: Annotated[int, typer.Option(help="of weights and batches")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads")] = 1,
) -> None:
    """Distil recorded plans into a policy that seeds the planner's samples; minutes on one core."""
    torch.set_num_threads(threads)
    try:
        opened = load_bundle(bundle)
        check_takes_policy(opened)
        read = []
        for path in find_plans(plans):
            read.append(read_plans(path))
            check_plans(read[-1], opened, f"plans {path}")
        recipe = PolicyRecipe(epochs, batch, learning_rate, hold_out=hold_out, seed=seed)
        fitted, held_out = split(read, StateLayout(opened.manifest.state), hold_out)
        bounds = bounds_of(opened.manifest)
        config = PolicyConfig(fitted.latents.shape[1], tuple(bounds.low.tolist()), tuple(bounds.high.tolist()), width)
        policy = fit_policy(fitted, held_out, config, recipe, progress=True)
        off, constant = errors_of(policy, fitted, held_out)
        latents, goals = held_out.latents.numpy(), held_out.goals.numpy()
        parity = add_policy(bundle, out, policy, latents, goals, policy_samples, TOLERANCE)
        figures = {"plans": sum(len(found) for found in read), "steps": len(fitted) + len(held_out),
                   "held_out_error": round(off, 4), "constant_error": round(constant, 4),
                   "std": [round(value, 4) for value in policy.std().tolist()], "parity": parity}  # fmt: skip
        typer.echo(json.dumps({"bundle": str(out), **figures}))
    except JepaRosError as error:
        typer.echo(f"policy: {error}", err=True)
        raise typer.Exit(1) from error
