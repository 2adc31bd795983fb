"""The model card: README.md of a bundle, from the training log and, once there is one, an evaluation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jepa_ros.bundle.loader import sha256
from jepa_ros.bundle.manifest import MANIFEST_NAME, Manifest, read_manifest
from jepa_ros.bundle.signatures import derivatives
from jepa_ros.errors import JepaRosError


def write_model_card(bundle: Path, training: Path, evaluation: Path | None = None) -> Path:
    """Write `README.md` into a bundle.

    Args:
        bundle: its folder.
        training: the `--out` folder of `jepa_ros_training.train`: `recipe.json` and `log.jsonl`.
        evaluation: JSON of `jepa_ros_simulation.evaluate`; None says that it has not been evaluated.

    Raises:
        JepaRosError: a file that is missing or holds something else, or an evaluation that does not measure this
            bundle as it is: of another one, with planner settings of its own, or on chosen tasks.
    """
    manifest = read_manifest(bundle)
    recipe = _read(training / "recipe.json", json.loads)
    log = _read(training / "log.jsonl", lambda text: [json.loads(line) for line in text.splitlines()])
    figures = next((line for line in reversed(log) if "held_out" in line), None)
    if figures is None:
        raise JepaRosError(
            f"model card: {training / 'log.jsonl'} holds no held-out figures; train until the first checkpoint"
        )
    drives = None
    if evaluation is not None:
        drives = _read(evaluation, json.loads)
        _check_provenance(drives, evaluation, bundle)
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


def _check_provenance(found: Any, path: Path, bundle: Path) -> None:
    """Refuse an evaluation whose figures would not be this bundle's; one from before a field was kept passes it."""
    if not isinstance(found, dict):
        raise JepaRosError(
            f"model card: {path} is not an evaluation; write it with jepa_ros_simulation.evaluate --json"
        )
    measured, own = found.get("manifest_sha256"), sha256(bundle / MANIFEST_NAME)
    if measured is not None and measured != own:
        raise JepaRosError(
            f"model card: {path} is of another bundle ({MANIFEST_NAME} sha256 {str(measured)[:12]}, {bundle} has "
            f"{own[:12]}); evaluate this one"
        )
    if found.get("planner"):
        raise JepaRosError(
            f"model card: {path} was measured with planner settings {json.dumps(found['planner'])} instead of the "
            "bundle's; evaluate it without --planner"
        )
    tasks = found.get("tasks")
    if tasks is not None and not (isinstance(tasks, dict) and tasks.get("source") == "drawn"):
        raise JepaRosError(f"model card: {path} is of chosen goals, not of drawn ones; evaluate without --goals")


def _head(manifest: Manifest) -> list[str]:
    spec, camera, timing = manifest.action, manifest.camera, manifest.timing
    parts = zip(spec.names, spec.units, spec.low, spec.high, strict=True)
    action = ", ".join(f"{name} {low:g} … {high:g} {unit}" for name, unit, low, high in parts)
    energy = ", ".join(f"{term.weight:g} × {term.source} ({term.steps} steps)" for term in manifest.cost)
    fov = f", horizontal field of view {camera.horizontal_fov_rad:.3f} rad" if camera.horizontal_fov_rad else ""
    return [
        f"# World model `{manifest.name}`",
        "",
        f"Family `{manifest.family}`; {manifest.source}. Licence {manifest.licence}.",
        "",
        f"- Sees: one RGB camera, {camera.width} × {camera.height}{fov}.",
        f"- Acts: {action}, one action every {timing.step_s:g} s.",
        f"- Latent: {manifest.latent.shape[0]} numbers; the predictor sees the last {manifest.predictor.max_context}.",
        f"- Energy: {energy}; arrival below {manifest.calibration.arrival_energy:.3g}.",
        *_derivatives(manifest),
        "",
    ]


def _derivatives(manifest: Manifest) -> list[str]:
    files = [f"`{name}`" for name in sorted(derivatives(manifest)) if name in manifest.files]
    return [f"- Derivatives, for planning by gradients: {', '.join(files)}."] if files else []


def _table(rows: dict[str, str]) -> list[str]:
    return ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items()), ""]


def _recipe(recipe: dict[str, Any], figures: dict[str, Any]) -> list[str]:
    begun = {"began with": f"the weights of `{recipe['start_from']}`"} if recipe.get("start_from") else {}
    rows = {
        **begun,
        "frame passes": f"{figures['frames']:,}",
        "time": f"{figures['seconds'] / 60:.0f} minutes",
        "batch": f"{recipe['batch']} windows of {recipe['window']} frames",
        "prediction": f"squared error over a self-fed rollout of {recipe['horizon']} steps",
        "against collapse": f"{recipe['regulariser_weight']:g} × {recipe['regulariser']}",
        "optimiser": f"AdamW, {recipe['learning_rate']:g}, cosine, {figures['iteration']:,} steps",
        "weights": f"moving average, {recipe['ema']:g} a step",
        "seed": str(recipe["seed"]),
    }
    return [
        "## Data and recipe",
        "",
        "Runs of random commands in one furnished room of the simulator (`jepa_ros_simulation.collect`); the last",
        "ones were held out. Encoder and predictor learn together, without rewards, poses, a teacher or negatives.",
        "",
        *_table(rows),
    ]


def _figures(held_out: dict[str, Any]) -> list[str]:
    model, copy_last = held_out["open_loop"]["model"], held_out["open_loop"]["copy_last"]
    last = len(model)  # 8, or fewer where the held-out runs are short
    rows = {
        "standard deviation of the latent": f"{held_out['std']:.2f}",
        "effective rank": f"{held_out['effective_rank']:.1f}",
        "linear probe of the pose, R²": ", ".join(
            f"{name} {value:.3f}" for name, value in held_out["probe_r2"].items()
        ),
        "Spearman, latent distance against pose distance": f"{held_out['spearman']:.2f}",
        "prediction error at step 1, copying the last latent": f"{model[0]:.4f}, {copy_last[0]:.4f}",
        f"prediction error at step {last}, copying the last latent": f"{model[-1]:.4f}, {copy_last[-1]:.4f}",
    }
    return ["## Figures on held-out runs", "", *_table(rows)]


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
        "It knows one room, seen by one camera at one height, without the robot in view, sensor noise or people.",
        "In another room its goals mean nothing: collect runs there and train again (`docs/train.md`).",
    ]
