"""A steps-to-go head on a trained world model's frozen latents: `python -m jepa_ros_training.value`.

Expectile regression with hindsight goals (IQL, Kostrikov 2021, section 4.2; goal-conditioned as in HIQL, Park 2023,
section 4): any frame later in a run is a goal that was reached, and the optimistic expectile finds the shortest way
among the ways seen. No rewards and no poses.
"""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor, nn

from jepa_ros.errors import JepaRosError
from jepa_ros_training.checkpoint import load_average, read_state, write_atomically
from jepa_ros_training.dataset import Runs, read_split
from jepa_ros_training.diagnostics import encode_all, rank_correlation
from jepa_ros_training.model import WorldModel
from jepa_ros_training.recipe import held_out_of


@dataclass(frozen=True)
class ValueConfig:
    """Sizes of the head."""

    latent: int = 128
    width: int = 256
    embedding: int = 64

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        return asdict(self)


class ValueHead(nn.Module):
    """Latents `[B, D]` and goals `[B, D]` → discounted model steps to go `[B]`; lower is nearer.

    The distance of two embeddings, so that it is zero at the goal and nowhere below it. The result is
    (1 − γᵏ) / (1 − γ) for k steps: nearly k when near, and bounded when far, where k is hard to know.
    """

    def __init__(self, config: ValueConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Sequential(
            nn.Linear(config.latent, config.width),
            nn.SiLU(),
            nn.LayerNorm(config.width),
            nn.Linear(config.width, config.width),
            nn.SiLU(),
            nn.LayerNorm(config.width),
            nn.Linear(config.width, config.embedding),
        )

    def forward(self, latent: Tensor, goal: Tensor) -> Tensor:
        apart = self.embed(latent) - self.embed(goal)
        return torch.sqrt((apart * apart).sum(-1) + 1e-6)


@dataclass(frozen=True)
class ValueRecipe:
    """How to fit it. Goals of a state: `own_share` from later in its run, geometrically far; the rest from anywhere."""

    iterations: int = 2500
    batch: int = 1024
    discount: float = 0.97
    expectile: float = 0.9
    own_share: float = 0.7
    imagined_share: float = 0.5
    imagined_steps: int = 8
    learning_rate: float = 1e-3
    target_rate: float = 0.01
    seed: int = 0


@dataclass(frozen=True)
class Transitions:
    """Frozen latents of runs laid end to end.

    Attributes:
        seen: `[N, D]` latents of the frames.
        imagined: `[N, D]` latents of the same frames as the predictor imagines them from some steps before: what a
            planner asks the head about.
        last: `[N]` index of the last frame of the run that each frame is in.
    """

    seen: Tensor
    imagined: Tensor
    last: NDArray[np.int64]


def imagine(model: WorldModel, runs: Runs, seen: Tensor, steps: int, rng: np.random.Generator) -> Tensor:
    """A prediction of each frame's latent from 1 to `steps` steps before, `[N, D]`; the latent where none fits."""
    context = model.config.context
    imagined = seen.clone()
    starts = rng.permutation(runs.starts(context + steps))
    actions = torch.from_numpy(runs.actions)
    with torch.inference_mode():
        for part in np.array_split(starts, max(1, len(starts) // 4096)):
            rows = torch.from_numpy(part[:, None] + np.arange(context + steps))
            rolled = model.rollout(seen[rows[:, :context]], actions[rows[:, : context - 1 + steps]])
            kept = torch.from_numpy(rng.integers(0, steps, len(part)))
            imagined[rows[torch.arange(len(part)), context + kept]] = rolled[torch.arange(len(part)), kept]
    return imagined


def prepare(model: WorldModel, runs: Runs, recipe: ValueRecipe) -> Transitions:
    """Encode and imagine all frames of the runs once."""
    seen = torch.from_numpy(encode_all(model, runs.images))
    last = np.repeat(runs.first + runs.length - 1, runs.length)
    return Transitions(
        seen, imagine(model, runs, seen, recipe.imagined_steps, np.random.default_rng(recipe.seed)), last
    )


def draw(data: Transitions, recipe: ValueRecipe, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A batch: states, the states one step later, goals, each `[B, D]`, and whether a state is its goal `[B]`."""
    count = len(data.last)
    now = rng.integers(0, count, recipe.batch)
    now = np.where(now == data.last[now], np.maximum(now - 1, 0), now)
    ahead = rng.geometric(1 - recipe.discount, recipe.batch) - 1
    own = rng.random(recipe.batch) < recipe.own_share
    goal = np.where(own, np.minimum(now + ahead, data.last[now]), rng.integers(0, count, recipe.batch))
    dreamt = torch.from_numpy(rng.random(recipe.batch) < recipe.imagined_share)[:, None]
    state = torch.where(dreamt, data.imagined[now], data.seen[now])
    # A run of one frame has no step: it is said to stay where it is, never to go on in the next run.
    return state, data.seen[np.minimum(now + 1, data.last[now])], data.seen[goal], torch.from_numpy(goal == now)


def fit_value(data: Transitions, config: ValueConfig, recipe: ValueRecipe, progress: bool = False) -> ValueHead:
    """Fit the head.

    Raises:
        JepaRosError: the loss is not finite.
    """
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    head = ValueHead(config)
    target = deepcopy(head).requires_grad_(False)
    optimiser = torch.optim.AdamW(head.parameters(), lr=recipe.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.iterations)
    for iteration in track(range(recipe.iterations), "fitting the value head", disable=not progress):
        state, following, goal, arrived = draw(data, recipe, rng)
        with torch.no_grad():
            wanted = torch.where(arrived, 0.0, 1.0 + recipe.discount * target(following, goal))
        error = wanted - head(state, goal)
        # Fewer steps than thought is good news, and weighs more.
        weight = torch.where(error < 0, recipe.expectile, 1 - recipe.expectile)
        loss = (weight * error**2).mean()
        if not torch.isfinite(loss):
            raise JepaRosError(f"value head: the loss is not finite at iteration {iteration}; lower the learning rate")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            for slow, fast in zip(target.parameters(), head.parameters(), strict=True):
                slow.lerp_(fast, recipe.target_rate)
    return head.eval()


def rank_agreement(head: ValueHead, runs: Runs, latents: NDArray[np.float32], seed: int = 0) -> float:
    """Spearman's correlation of the head with pose distance (m + rad), pairs up to 40 steps apart; a diagnostic.

    Raises:
        JepaRosError: no run has two frames.
    """
    begin, end = runs.pairs(np.random.default_rng(seed))
    with torch.inference_mode():
        value = head(torch.from_numpy(latents[begin]), torch.from_numpy(latents[end])).numpy().astype(np.float64)
    apart = (runs.poses[begin] - runs.poses[end]).astype(np.float64)
    turned = np.abs((apart[:, 2] + np.pi) % (2 * np.pi) - np.pi)
    return rank_correlation(value, np.hypot(apart[:, 0], apart[:, 1]) + turned)


def load_value(path: Path) -> ValueHead:
    """A fitted head.

    Raises:
        JepaRosError: not a file of this module.
    """
    state = read_state(path)
    try:
        head = ValueHead(ValueConfig(**state["config"]))
        head.load_state_dict(state["head"])
    except (KeyError, TypeError, RuntimeError) as error:
        raise JepaRosError(f"value head {path}: not one that jepa_ros_training.value wrote ({error})") from error
    return head.eval()


def main(
    checkpoint: Annotated[Path, typer.Option(help="of the world model")] = Path("runs/train/checkpoint.pt"),
    data: Annotated[Path, typer.Option(help="folder of run files")] = Path("data/room0"),
    out: Annotated[Path | None, typer.Option(help="file to write; default: value.pt beside the checkpoint")] = None,
    iterations: Annotated[int, typer.Option(min=1, help="optimiser steps")] = 2500,
    hold_out: Annotated[
        int | None, typer.Option(min=1, help="the last runs, kept for diagnostics; default: those that training kept")
    ] = None,
    seed: Annotated[int, typer.Option(help="of weights and batches")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads")] = 1,
) -> None:
    """Fit the steps-to-go head on a trained world model; minutes on one core."""
    torch.set_num_threads(threads)
    try:
        model = load_average(checkpoint)
        recipe = ValueRecipe(iterations=iterations, seed=seed)
        runs, held_out = read_split(data, held_out_of(checkpoint, hold_out))
        runs.need(2, "training runs")
        held_out.need(2, "held-out runs")
        head = fit_value(prepare(model, runs, recipe), ValueConfig(latent=model.config.latent), recipe, progress=True)
        spearman = rank_agreement(head, held_out, encode_all(model, held_out.images))
        path = out or checkpoint.with_name("value.pt")
        state = {
            "config": head.config.as_dict(),
            "head": head.state_dict(),
            "recipe": asdict(recipe) | {"held_out": held_out.names},
            "spearman": spearman,
        }
        write_atomically(state, path)
        typer.echo(json.dumps({"value head": str(path), "spearman": round(spearman, 3)}))
    except JepaRosError as error:
        typer.echo(f"value: {error}", err=True)
        raise typer.Exit(1) from error


if __name__ == "__main__":
    typer.run(main)
