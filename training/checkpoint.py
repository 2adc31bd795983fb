"""Checkpoints: replaced atomically, loaded as weights only (a pickle from elsewhere runs no code)."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from jepa_ros.errors import JepaRosError
from jepa_ros_training.model import ModelConfig, WorldModel


def write_atomically(state: dict[str, Any], path: Path) -> None:
    """Save, then rename: a reader or a power cut never sees half a file."""
    partial = path.with_suffix(path.suffix + ".partial")
    torch.save(state, partial)
    partial.replace(path)


def read_state(path: Path) -> dict[str, Any]:
    """The dictionary that a file holds.

    Raises:
        JepaRosError: there is none, or it is not a file of plain tensors and values.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise JepaRosError(
            f"checkpoint {path}: no such file; train with `python -m jepa_ros_training.train`"
        ) from error
    except (OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        raise JepaRosError(f"checkpoint {path}: not a readable checkpoint ({_line(error)})") from error
    if not isinstance(state, dict):
        raise JepaRosError(f"checkpoint {path}: holds a {type(state).__name__}, not a dictionary of weights")
    return state


def load_average(path: Path) -> WorldModel:
    """The averaged weights of a training run, ready for export.

    Raises:
        JepaRosError: not a checkpoint of this family.
    """
    state = read_state(path)
    try:
        model = WorldModel(ModelConfig(**state["config"]))
        model.load_state_dict(state["average"])
    except (KeyError, TypeError, RuntimeError) as error:
        raise JepaRosError(f"checkpoint {path}: not one of this family ({_line(error)})") from error
    return model.eval()


def _line(error: Exception) -> str:
    """An error's first line: torch's own go on for pages."""
    return (str(error) or type(error).__name__).splitlines()[0]
