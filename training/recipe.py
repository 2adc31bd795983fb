"""How a world model is trained: kept in its checkpoint, so that a resumed run follows it and an export knows it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jepa_ros.errors import JepaRosError
from jepa_ros_training.checkpoint import read_state

HOLD_OUT = 20
# A run may go on for longer or shorter than it was begun for.
_LENGTH = ("minutes", "frames")


@dataclass(frozen=True)
class Recipe:
    """How to train. `minutes` or `frames` (frame passes) is the length of the schedule; exactly one is set.

    Attributes:
        start_from: the checkpoint or bundle whose weights were the first.
        data: `Runs.identity` of the runs trained on.
        held_out: names of the run files that were not.
    """

    minutes: float | None = None
    frames: int | None = None
    batch: int = 64
    window: int = 16
    horizon: int = 8
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    warm_up: int = 100
    regulariser: str = "sigreg"
    regulariser_weight: float = 3.0
    ema: float = 0.998
    seed: int = 0
    start_from: str | None = None
    data: str | None = None
    held_out: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        return asdict(self)

    def check_same(self, saved: dict[str, Any], path: Path) -> None:
        """Refuse to go on from a checkpoint that was trained by another recipe; its length may differ.

        Args:
            saved: the checkpoint's recipe; fields that it does not have (an older one) are not compared.
            path: of the checkpoint.

        Raises:
            JepaRosError: the first field that differs, with both values.
        """
        for field, value in self.as_dict().items():
            if field in _LENGTH or field not in saved or saved[field] == value:
                continue
            raise JepaRosError(
                f"checkpoint {path}: its recipe has {field} {_shown(saved[field])}, not {_shown(value)}; give it as it "
                "was, or use another --out"
            )


def _shown(value: Any) -> str:
    """A value in a message; of many names only the ends."""
    if isinstance(value, tuple):
        return f"{len(value)} runs ({value[0]} to {value[-1]})" if value else "no runs"
    return str(value)


def held_out_of(checkpoint: Path, option: int | None) -> int | tuple[str, ...]:
    """Which runs a model was not trained on: their names, or for an old checkpoint how many of the last.

    Args:
        checkpoint: of the world model.
        option: what the user says; only an old checkpoint needs it (default 20).

    Raises:
        JepaRosError: the checkpoint cannot be read, or says something else than the user.
    """
    recipe = read_state(checkpoint).get("recipe")
    names = recipe.get("held_out") if isinstance(recipe, dict) else None
    if not names:
        return HOLD_OUT if option is None else option
    if option is not None and option != len(names):
        raise JepaRosError(
            f"--hold-out {option}: checkpoint {checkpoint} names the {len(names)} runs that were held out; leave the "
            "option out"
        )
    return tuple(str(name) for name in names)
