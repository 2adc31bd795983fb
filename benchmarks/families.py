"""Every family at the published size: parity of each graph, what the export takes, and what predictions cost on a CPU.

    jepa-bench families --help

Weights are random: time and memory do not depend on what was learned. Each family runs in a process of its own, so that
its peak memory is its own.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from jepa_ros.bundle.loader import load_bundle
from jepa_ros.world_model import OnnxWorldModel
from jepa_ros_export.families import FAMILIES, family_module
from jepa_ros_export.family_settings import read_config
from jepa_ros_export.writer import write_bundle

# V-JEPA 2's ViT-g has 1 B parameters in 40 like layers: two of them have the same width, tokens and kinds of operator.
SMALL_ENCODER = {"vjepa2_ac": {"encoder_depth": 2}}
ALL = [name for name in FAMILIES if name != "generic"]
FIGURES: dict[str, Callable[[dict[str, Any]], str]] = {
    "family": lambda row: row["family"],
    "parameters, M": lambda row: " + ".join(f"{count / 1e6:.0f}" for count in row["parameters"]),
    "encoder": lambda row: f"{row['errors']['encoder']:.0e}",
    "predictor": lambda row: f"{row['errors']['predictor']:.0e}",
    "derivative": lambda row: f"{row['errors']['predictor_vjp']:.0e}" if "predictor_vjp" in row["errors"] else "–",
    "rollout (steps)": lambda row: f"{row['errors']['rollout']:.0e} ({row['horizon']})",
    "bundle, MB": lambda row: f"{row['bundle_gb'] * 1e3:.0f}",
    "export, s": lambda row: f"{row['export_s']:.0f}",
    "peak memory, GB": lambda row: f"{row['peak_gb']:.1f}",
    "encode, ms": lambda row: f"{row['encode_ms']:.0f}",
    "predict, ms (context)": lambda row: f"{row['predict_ms']:.1f} ({row['context']})",
}


def main(
    families: Annotated[list[str] | None, typer.Argument(help="default: all but generic")] = None,
    encoder: Annotated[Literal["full", "small"], typer.Option(help="small: 2 of ViT-g's 40 layers")] = "small",
    derivative: Annotated[bool, typer.Option(help="export the predictor's derivative too")] = True,
    repeats: Annotated[int, typer.Option(min=3, help="predictions timed")] = 20,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of a prediction")] = 1,
    json_out: Annotated[Path | None, typer.Option("--json", help="write the figures here")] = None,
    markdown: Annotated[bool, typer.Option(help="print the table for a page of the docs too")] = False,
) -> None:
    """Export, compare with PyTorch, and time."""
    rows = []
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for name in track(families or ALL, "exporting"):
            rows.append(pool.apply(measure, (name, encoder, derivative, repeats, threads)))
            if json_out is not None:  # after each: a later one may need more memory than there is
                json_out.write_text(json.dumps(rows, indent=1))
    table = Table(title=f"published size, random weights, CPU; predictions on {threads} thread(s), median of {repeats}")
    for column in FIGURES:
        table.add_column(column)
    for row in rows:
        table.add_row(*(show(row) for show in FIGURES.values()))
    Console(width=200 if markdown else None).print(table)
    if markdown:
        lines = ["| " + " | ".join(FIGURES) + " |", "|" + "---|" * len(FIGURES)]
        lines += ["| " + " | ".join(show(row) for show in FIGURES.values()) + " |" for row in rows]
        print("\n".join(lines))


def measure(name: str, encoder: str, derivative: bool, repeats: int, threads: int) -> dict[str, Any]:
    """All figures of one family."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    module = family_module(name)
    config = read_config(module, None, "full")
    if encoder == "small":
        config = config.model_copy(update=SMALL_ENCODER.get(name, {}))
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        state = module.random_checkpoint(config)
        begin = time.perf_counter()
        parts = module.build(state, config)
        del state
        report = write_bundle(parts, bundle, with_derivative=derivative, say=print)
        export_s = time.perf_counter() - begin
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        counts = [sum(p.numel() for p in part.parameters()) for part in (parts.encoder, parts.predictor)]
        manifest = parts.manifest
        del parts
        model, rng = OnnxWorldModel(load_bundle(bundle), threads), np.random.default_rng(0)
        camera = manifest.camera
        image = rng.integers(0, 256, (camera.height, camera.width, camera.channels), dtype=np.uint8)
        measured = None if manifest.proprio is None else np.zeros(len(manifest.proprio.names), np.float32)
        latent = model.encode_goal(image, measured)
        past, action = (
            np.zeros((0, manifest.action_size), np.float32),
            np.zeros((1, 1, manifest.action_size), np.float32),
        )
        return {
            "family": name,
            "encoder": encoder,
            "parameters": counts,
            "errors": report.errors,
            "seconds": report.seconds,
            "export_s": export_s,
            "peak_gb": peak / 2**20,
            "bundle_gb": report.size / 1e9,
            "horizon": manifest.planner.horizon or 6,
            "context": manifest.predictor.max_context,
            "encode_ms": median_ms(lambda: model.encode_goal(image, measured), repeats),
            "predict_ms": median_ms(lambda: model.rollout(latent[None], past, action), repeats),
        }


def median_ms(call: Callable[[], object], repeats: int) -> float:
    """Of some calls, the first of which makes buffers and does not count."""
    call()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        times.append((time.perf_counter() - begin) * 1e3)
    return float(np.median(times))
