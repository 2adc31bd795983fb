"""Train the default world model from recorded runs: `python -m jepa_ros_training.train`.

Encoder and predictor learn together: squared error over a self-fed rollout of several steps, gradients through both
sides (no teacher, no stop-gradient), plus SIGReg against collapse. Several rollouts start in each window, so that every
encoded frame is the target of many predictions. Resumable: a checkpoint holds everything, and is replaced atomically.
Random numbers come from CPU generators on every device, so that what is drawn after a resume is what would have been.
"""

from __future__ import annotations

import json
import math
import os
import time
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor

from jepa_ros.errors import JepaRosError
from jepa_ros_training.checkpoint import read_state, write_atomically
from jepa_ros_training.dataset import Runs, read_split
from jepa_ros_training.diagnostics import diagnose
from jepa_ros_training.losses import prediction_error, sigreg, vicreg
from jepa_ros_training.model import ModelConfig, WorldModel
from jepa_ros_training.precision import autocast
from jepa_ros_training.recipe import HOLD_OUT, Recipe
from jepa_ros_training.warm_start import load_weights


class Trainer:
    """One training run: model, optimiser, averaged weights and random states, saved and restored together.

    Raises:
        JepaRosError: a recipe without one length, or runs of which none reaches its window.
    """

    def __init__(
        self, runs: Runs, config: ModelConfig, recipe: Recipe, device: str, start: WorldModel | None = None
    ) -> None:
        if (recipe.minutes is None) == (recipe.frames is None):
            raise JepaRosError("training: give the length either in minutes or in frames, not both")
        runs.need(recipe.window, "training runs")
        torch.manual_seed(recipe.seed)
        self.runs, self.recipe, self.device = runs, recipe, device
        self.model = (start or WorldModel(config)).to(device)
        self.rng = np.random.default_rng(recipe.seed)
        self.starts = runs.starts(recipe.window)
        if start is None:
            images, _ = runs.batch(self.rng.choice(self.starts, 512), 1)
            self.model.spread_latents(images.flatten(0, 1).to(device))
        self.average = deepcopy(self.model)
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        self.iteration, self.seconds = 0, 0.0

    @property
    def frames(self) -> int:
        """Frame passes so far."""
        return self.iteration * self.recipe.batch * self.recipe.window

    @property
    def progress(self) -> float:
        """How much of the schedule is done, 0 to 1."""
        if self.recipe.frames is not None:
            return min(self.frames / self.recipe.frames, 1.0)
        return min(self.seconds / (60.0 * float(self.recipe.minutes or 0.0)), 1.0)

    def losses(self, images: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Prediction error and regulariser of a batch: images `[B, W, h, w, 3]`, actions `[B, W, A]`."""
        recipe, context = self.recipe, self.model.config.context
        batch, window = images.shape[:2]
        with autocast(self.device):
            latents = self.model.encoder(images.flatten(0, 1)).float().view(batch, window, -1)
        origins = range(window - context - recipe.horizon + 1)
        spans = torch.stack([actions[:, o : o + context - 1 + recipe.horizon] for o in origins], 1).flatten(0, 1)
        contexts = torch.stack([latents[:, o : o + context] for o in origins], 1).flatten(0, 1)
        targets = torch.stack([latents[:, o + context : o + context + recipe.horizon] for o in origins], 1).flatten(
            0, 1
        )
        with autocast(self.device):
            predicted = self.model.rollout(contexts, spans)
        regulariser = sigreg if recipe.regulariser == "sigreg" else vicreg
        return prediction_error(predicted, targets), regulariser(latents.flatten(0, 1))

    def step(self) -> dict[str, float]:
        """One optimiser step; returns its figures."""
        begin = time.monotonic()
        recipe = self.recipe
        rate = recipe.learning_rate * min(1.0, (self.iteration + 1) / recipe.warm_up)
        rate *= 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * self.progress))
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        images, actions = self.runs.batch(self.rng.choice(self.starts, recipe.batch), recipe.window)
        error, penalty = self.losses(images.to(self.device), actions.to(self.device))
        loss = error + recipe.regulariser_weight * penalty
        if not torch.isfinite(loss):
            raise JepaRosError(
                f"training: the loss is not finite at iteration {self.iteration}; lower the learning rate"
            )
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        keep = min(recipe.ema, (self.iteration + 1) / (self.iteration + 10))
        with torch.no_grad():
            for slow, fast in zip(self.average.parameters(), self.model.parameters(), strict=True):
                slow.lerp_(fast, 1 - keep)
        self.iteration += 1
        self.seconds += time.monotonic() - begin
        return {"prediction": float(error.detach()), "regulariser": float(penalty.detach()), "learning_rate": rate}

    def save(self, path: Path) -> None:
        """Write everything needed to go on, atomically."""
        state = {
            "config": self.model.config.as_dict(),
            "recipe": self.recipe.as_dict(),
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "torch_rng": torch.get_rng_state(),
            "numpy_rng": json.dumps(self.rng.bit_generator.state),
            "iteration": self.iteration,
            "seconds": self.seconds,
        }
        write_atomically(state, path)

    def restore(self, path: Path) -> None:
        """Go on from a checkpoint.

        Raises:
            JepaRosError: the checkpoint is of another model, or was trained by another recipe.
        """
        state = read_state(path)
        if state.get("config") != self.model.config.as_dict():
            raise JepaRosError(
                f"checkpoint {path}: it is of a model with other sizes, {state.get('config')}; use another --out"
            )
        self.recipe.check_same(state.get("recipe", {}), path)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        torch.set_rng_state(state["torch_rng"].cpu())
        self.rng.bit_generator.state = json.loads(state["numpy_rng"])
        self.iteration, self.seconds = state["iteration"], state["seconds"]


def train(trainer: Trainer, out: Path, held_out: Runs, save_every_s: float = 180.0) -> None:
    """Run to the end of the schedule, logging JSON lines and saving checkpoints.

    Raises:
        JepaRosError: no held-out run is long enough for a prediction (said before training, not after), or the loss is
            not finite.
    """
    held_out.need(trainer.model.config.context + 1, "held-out runs")
    checkpoint, log = out / "checkpoint.pt", out / "log.jsonl"
    columns = [
        TextColumn("training"),
        BarColumn(),
        TextColumn("{task.percentage:>5.1f} %  {task.description}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    ]
    saved = time.monotonic()
    with Progress(*columns) as bar, log.open("a") as lines:
        task = bar.add_task("", total=1.0, completed=trainer.progress)
        while trainer.progress < 1.0:
            figures: dict[str, Any] = trainer.step()
            what = f"prediction {figures['prediction']:.4f}  regulariser {figures['regulariser']:.4f}"
            bar.update(task, completed=trainer.progress, description=what)
            due = time.monotonic() - saved > save_every_s
            if due or trainer.progress >= 1.0:
                trainer.save(checkpoint)
                saved = time.monotonic()
                figures["held_out"] = diagnose(trainer.average, held_out)
            if due or trainer.iteration % 20 == 0 or trainer.progress >= 1.0:
                figures |= {
                    "iteration": trainer.iteration,
                    "frames": trainer.frames,
                    "seconds": round(trainer.seconds, 1),
                }
                lines.write(json.dumps(figures) + "\n")
                lines.flush()


def main(
    data: Annotated[Path, typer.Option(help="folder of run files")] = Path("data/room0"),
    out: Annotated[Path, typer.Option(help="folder for checkpoint and log")] = Path("runs/train"),
    minutes: Annotated[float | None, typer.Option(help="length of the schedule in minutes of training")] = None,
    frames: Annotated[int | None, typer.Option(help="or in frame passes")] = None,
    batch: Annotated[int, typer.Option(min=2, help="windows a step")] = 64,
    regulariser: Annotated[str, typer.Option(help="sigreg or vicreg")] = "sigreg",
    weight: Annotated[float, typer.Option(help="weight of the regulariser")] = 3.0,
    learning_rate: Annotated[float, typer.Option(help="highest learning rate of the schedule")] = 1e-3,
    start_from: Annotated[
        Path | None, typer.Option(help="checkpoint or bundle whose weights to begin with, under a new schedule")
    ] = None,
    hold_out: Annotated[int, typer.Option(min=1, help="the last runs, kept for diagnostics")] = HOLD_OUT,
    seed: Annotated[int, typer.Option(help="of weights and batches")] = 0,
    compiled: Annotated[
        bool, typer.Option("--compile", help="compile the encoder; a third faster on a CPU, needs gcc")
    ] = False,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads")] = os.cpu_count() or 1,
    resume: Annotated[bool, typer.Option(help="go on from the checkpoint in --out if there is one")] = True,
) -> None:
    """Train a JEPA on recorded runs, without negatives; resumable."""
    torch.set_num_threads(threads)
    if minutes is None and frames is None:
        frames = 4_000_000
    out.mkdir(parents=True, exist_ok=True)
    try:
        if regulariser not in ("sigreg", "vicreg"):
            raise JepaRosError(f"--regulariser {regulariser}: must be sigreg or vicreg")
        runs, held_out = read_split(data, hold_out)
        recipe = Recipe(
            minutes=minutes,
            frames=frames,
            batch=batch,
            learning_rate=learning_rate,
            regulariser=regulariser,
            regulariser_weight=weight,
            seed=seed,
            start_from=None if start_from is None else str(start_from),
            data=runs.identity(),
            held_out=held_out.names,
        )
        device = "cuda" if torch.cuda.is_available() else "cpu"
        start = None if start_from is None else load_weights(start_from)
        trainer = Trainer(runs, ModelConfig(), recipe, device, start)
        if compiled:
            trainer.model.encoder.compile()
        if resume and (out / "checkpoint.pt").exists():
            trainer.restore(out / "checkpoint.pt")
            typer.echo(f"resuming at iteration {trainer.iteration}")
        (out / "recipe.json").write_text(json.dumps(recipe.as_dict(), indent=1))
        train(trainer, out, held_out)
    except JepaRosError as error:
        typer.echo(f"train: {error}", err=True)
        raise typer.Exit(1) from error


if __name__ == "__main__":
    typer.run(main)
