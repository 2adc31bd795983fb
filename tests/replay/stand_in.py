"""A stand-in for the replay of a bag that does as the bag's name says, and bags for it. Worker processes import it."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from pathlib import Path

from jepa_ros.errors import JepaRosError


def _results():
    """`results` beside this file, also where tests are no package."""
    name = "made_up_results"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("results.py"))
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


def replay(bag, bundle, settings, progress):
    """A result for the bag; writes down beside it in which process it ran."""
    with (bag.parent / "calls.txt").open("a") as file:
        file.write(f"{bag.name} {os.getpid()}\n")
    if progress is not None:
        progress(0.5)
    if "nocamera" in bag.name:
        raise JepaRosError(f"bag {bag}: holds no camera images")
    if "bug" in bag.name:
        raise ZeroDivisionError("a fault of ours")
    if "killer" in bag.name:
        os.kill(os.getpid(), signal.SIGKILL)
    result = _results().full_result(bag, seed=settings.seed)
    # drawing takes seconds, and what is drawn is not asked here
    result.commands, result.recorded, result.applied, result.recorded_applied = [], [], [], []
    return result


def make_bags(folder, *names):
    """Files that are enough for the stand-in."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"a bag")
    return [folder / name for name in names]


def make_bundle(folder):
    """A folder with a manifest, which is all that a batch itself looks at."""
    folder.mkdir()
    (folder / "manifest.yaml").write_text("name: a bundle")
    return folder
