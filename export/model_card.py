"""The model card: README.md of a bundle, from the training log and, once there is one, an evaluation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jepa_ros.bundle.manifest import Manifest, read_manifest
from jepa_ros.errors import JepaRosError


def write_model_card(bundle: Path, training: Path, evaluation: Path | None = None) -> Path:
    """Write `README.md` into a bundle.

    Args:
        bundle: its folder.
        training: the `--out` folder of `jepa_ros_training.train`: `recipe.json` and `log.jsonl`.
        evaluation: JSON of `jepa_ros_simulation.evaluate`; None says that it has not been evaluated.

    Raises:
        JepaRosError: a file that is missing or holds something else.
    """
    manifest = read_manifest(bundle)
    recipe = _read(training / "recipe.json", json.loads)
    log = _read(training / "log.jsonl", lambda text: [json.loads(line) for line in text.splitlines()])
    figures = next((line for line in reversed(log) if "held_out" in line), None)
    if figures is None:
        raise JepaRosError(
            f"model card: {training / 'log.jsonl'} holds no held-out figures; train until the first checkpoint"
        )
    drives = _read(evaluation, json.loads) if evaluation is not None else None
    card = "\n".join(
        [*_head(manifest), *_recipe(recipe, figures), *_figures(figures["held_out"]), *_drives(drives), *_limits()]
    )
    path = bundle / "README.md"
    path.write_text(card + "\n")
    return path


def _read(path: Path, parse: Any) -> Any:
    try:
        return parse(path.read_text())
    except OSError as error:
        raise JepaRosError(f"model card: {path} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise JepaRosError(f"model card: {path} is not the JSON it should be ({error})") from error


def _head(manifest: Manifest) -> list[str]:
    action = ", ".join(
        f"{name} {low:g} … {high:g} {unit}"
        for name, unit, low, high in zip(
            manifest.action.names, manifest.action.units, manifest.action.low, manifest.action.high, strict=True
        )
    )
    camera = manifest.camera
    fov = f", horizontal field of view {camera.horizontal_fov_rad:.3f} rad" if camera.horizontal_fov_rad else ""
    return [
        f"# World model `{manifest.name}`",
        "",
        f"Family `{manifest.family}`; {manifest.source}. Licence {manifest.licence}.",
        "",
        f"- Sees: one RGB camera, {camera.width} × {camera.height}{fov}.",
        f"- Acts: {action}, one action every {manifest.timing.step_s:g} s.",
        f"- Latent: {manifest.latent.shape[0]} numbers; the predictor sees the last {manifest.predictor.max_context}.",
        f"- Energy: {', '.join(f'{t.weight:g} × {t.source} ({t.steps} steps)' for t in manifest.cost)}; "
        f"arrival below {manifest.calibration.arrival_energy:.3g}.",
        "",
    ]


def _recipe(recipe: dict[str, Any], figures: dict[str, Any]) -> list[str]:
    return [
        "## Data and recipe",
        "",
        "Runs of random commands in one furnished room of the simulator (`python -m jepa_ros_simulation.collect`); the last 20",
        "runs were held out. No rewards and no poses are used in training. Encoder and predictor learn together: squared error",
        f"over a self-fed rollout of {recipe['horizon']} steps plus {recipe['regulariser_weight']:g} × {recipe['regulariser']}.",
        "",
        "| | |",
        "|---|---|",
        f"| frame passes | {figures['frames']:,} |",
        f"| time | {figures['seconds'] / 60:.0f} minutes |",
        f"| batch | {recipe['batch']} windows of {recipe['window']} frames |",
        f"| optimiser | AdamW, {recipe['learning_rate']:g}, cosine, {figures['iteration']:,} steps |",
        f"| weights | moving average, {recipe['ema']:g} a step |",
        f"| seed | {recipe['seed']} |",
        "",
    ]


def _figures(held_out: dict[str, Any]) -> list[str]:
    error = held_out["open_loop"]
    probe = ", ".join(f"{name} {value:.3f}" for name, value in held_out["probe_r2"].items())
    return [
        "## Figures on held-out runs",
        "",
        "| | |",
        "|---|---|",
        f"| standard deviation of the latent | {held_out['std']:.2f} |",
        f"| effective rank | {held_out['effective_rank']:.1f} |",
        f"| linear probe, R² (a diagnostic; poses are not trained on) | {probe} |",
        f"| Spearman, latent distance against pose distance | {held_out['spearman']:.2f} |",
        f"| prediction error at step 1, beside copying the last latent | {error['model'][0]:.4f}, {error['copy_last'][0]:.4f} |",
        f"| prediction error at step 8, beside copying the last latent | {error['model'][-1]:.4f}, {error['copy_last'][-1]:.4f} |",
        "",
    ]


def _drives(found: dict[str, Any] | None) -> list[str]:
    if found is None:
        return ["## Drives", "", "Not evaluated in the simulator.", ""]
    try:
        low, high = found["ci95"]
        baselines = [f"| {name} | {_rate(value):.3f} | |" for name, value in found["baselines"].items()]
        return [
            "## Drives",
            "",
            "Success is within 0.25 m and 15° of the goal throughout the last second of 10 s, in the simulator.",
            "",
            f"| {found['episodes']} drives | success | 95 % interval |",
            "|---|---|---|",
            f"| this bundle | {found['success_rate']:.3f} | {low:.3f} … {high:.3f} |",
            *baselines,
            "",
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise JepaRosError(
            f"model card: the evaluation lacks {error}; write it with jepa_ros_simulation.evaluate --json"
        ) from error


def _rate(baseline: Any) -> float:
    """A baseline is a rate, or a mapping that holds one."""
    return float(baseline["success_rate"] if isinstance(baseline, dict) else baseline)


def _limits() -> list[str]:
    return [
        "## Limits",
        "",
        "It knows one room, seen by one camera at one height, with a hidden robot, no sensor noise and nobody walking through.",
        "In another room its goals mean nothing: collect runs there and train again (`docs/train.md`).",
    ]
