"""Plans that were made, kept as training material: what a policy prior is distilled from.

One `.npz` of plans in the order they were made, whoever made them: `jepa-replay --save-plans` from recordings, the
simulator's evaluation from its drives. See `RecordedPlans` for the arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from jepa_ros.arrays import read_arrays
from jepa_ros.bundle.loader import ENCODER, Bundle
from jepa_ros.errors import PlanningError
from jepa_ros.planning.mpc import Step
from jepa_ros.types import Float32

PLANS = "plans.npz"
_AXES = {"latents": ("N", "D"), "goals": ("N", "D"), "actions": ("N", "H", "A"), "predicted": ("N", "H", "D"),
         "energies": ("N",)}  # fmt: skip
_ENCODER = "encoder_sha256"


@dataclass(frozen=True)
class RecordedPlans:
    """N plans with one bundle.

    Attributes:
        latents: `[N, D]` where each begins: what was seen, with the committed actions rolled forward.
        goals: `[N, D]` where it shall lead.
        actions: `[N, H, A]` in the manifest's units.
        predicted: `[N, H, D]`; row h is what action h is predicted to lead to.
        energies: `[N]` of the plans.
        encoder: sha256 of the encoder whose latents these are.
    """

    latents: Float32
    goals: Float32
    actions: Float32
    predicted: Float32
    energies: Float32
    encoder: str

    def __len__(self) -> int:
        return len(self.latents)

    def write(self, path: Path) -> None:
        """Write the file; a reader never sees half of it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}")
        arrays = {name: getattr(self, name) for name in _AXES}
        np.savez_compressed(partial, encoder_sha256=np.array(self.encoder), **arrays)
        partial.replace(path)

    def check(self, where: str) -> None:
        """Refuse arrays that are not what they are said to be.

        Raises:
            PlanningError: there is no plan, a shape that does not fit the others, or a value that is not a number.
        """
        sizes: dict[str, int] = {}
        for name, axes in _AXES.items():
            array = getattr(self, name)
            wanted = ", ".join(f"{axis} = {sizes[axis]}" if axis in sizes else axis for axis in axes)
            fits = array.ndim == len(axes)
            if not fits or any(sizes.setdefault(a, n) != n for a, n in zip(axes, array.shape, strict=True)):
                raise PlanningError(f"{where}: {name} is {list(array.shape)}, not [{wanted}]")
            if not np.isfinite(array).all():
                raise PlanningError(f"{where}: {name} holds values that are not numbers; record the plans again")
        if not len(self):
            raise PlanningError(f"{where}: holds no plan; was there a goal?")


@dataclass
class PlanLog:
    """Gathers the plans of a drive.

    Attributes:
        encoder: sha256 of the bundle's encoder.
    """

    encoder: str
    _rows: list[tuple[Float32, Float32, Float32, Float32, float]] = field(default_factory=list)

    @classmethod
    def of(cls, bundle: Bundle) -> PlanLog:
        """An empty one for plans made with this bundle."""
        return cls(bundle.manifest.files[ENCODER])

    def __len__(self) -> int:
        return len(self._rows)

    def keep(self, step: Step, goal: Float32) -> None:
        """Keep a step's plan toward a goal `[D]`, if there is one that keeps every guardrail."""
        plan, origin = step.plan, step.origin
        if plan is not None and origin is not None and plan.feasible:
            self._rows.append((origin, goal, plan.actions, plan.latents, plan.energy))

    def plans(self) -> RecordedPlans:
        """What was kept.

        Raises:
            PlanningError: nothing was.
        """
        if not self._rows:
            raise PlanningError("no plan was made that could be recorded")
        latents, goals, actions, predicted, energies = (
            np.array([row[i] for row in self._rows], np.float32) for i in range(len(_AXES))
        )
        return RecordedPlans(latents, goals, actions, predicted, energies, self.encoder)


def read_plans(path: Path) -> RecordedPlans:
    """Read one file.

    Raises:
        JepaRosError: it cannot be read, is not a file of plans, or `RecordedPlans.check` refuses it.
    """
    found = read_arrays(path)
    if missing := [name for name in (*_AXES, _ENCODER) if name not in found]:
        raise PlanningError(f"plans {path}: lacks {', '.join(missing)}; is this a file of recorded plans?")
    for name in _AXES:
        if found[name].dtype.kind not in "fiu":
            raise PlanningError(f"plans {path}: {name} holds no numbers")
    arrays = {name: np.asarray(found[name], np.float32) for name in _AXES}
    plans = RecordedPlans(**arrays, encoder=str(found[_ENCODER]))
    plans.check(f"plans {path}")
    return plans


def find_plans(sources: Sequence[Path]) -> list[Path]:
    """Files of plans: those named, and those called `plans.npz` or `plans_*.npz` anywhere under the folders named.

    Raises:
        PlanningError: a source that is not there, or a folder without any.
    """
    found: list[Path] = []
    for source in sources:
        inside = [source] if source.is_file() else sorted({*source.rglob(PLANS), *source.rglob("plans_*.npz")})
        if not inside:
            raise PlanningError(
                f"plans {source}: no such file, or no {PLANS} under it; record some with jepa-replay BAG --save-plans"
            )
        found += [path for path in inside if path not in found]
    return found
