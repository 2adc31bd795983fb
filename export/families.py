"""The model families by name."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from jepa_ros.errors import BundleError
from jepa_ros_export.checkpoint import copies, pick

# Imported when asked for: some need transformers.
FAMILIES = {
    "vjepa2_ac": "V-JEPA 2-AC: a robot arm's video world model (Assran et al., 2025)",
    "dino_wm": "DINO-WM: a world model on DINOv2's patches (Zhou et al., 2024)",
    "jepa_wms": "JEPA-WMs: DINO-WM's successors, with AdaLN and rotary positions (Terver et al., 2025)",
    "lewm": "LeWorldModel: small, trained end to end (Maes et al., 2026)",
    "pldm": "PLDM: planning with latent dynamics, VICReg-trained (Sobal et al., 2025)",
    "eb_jepa": "EB-JEPA: the library's action-conditioned example (2026)",
    "tdmpc2": "TD-MPC2: latent dynamics with reward, value and policy (Hansen et al., 2024)",
    "ijepa": "I-JEPA's encoder, with a predictor of your own",
    "vjepa2": "V-JEPA 2's encoder, with a predictor of your own",
    "dinov2": "DINOv2's encoder, with a predictor of your own",
    "dinov3": "DINOv3's encoder, with a predictor of your own",
    "generic": "anyone's torch.export programs and a manifest",
}


# World models often hold a published encoder too: these are only what no world model's marks are found in.
_ENCODERS = ("ijepa", "vjepa2", "dinov2", "dinov3")


def family_module(name: str) -> Any:
    """The file of a family; see `family.Family`.

    Raises:
        BundleError: no such family, or a package that it needs is not installed.
    """
    if name not in FAMILIES:
        raise BundleError(f"export: no family is named {name!r}; there are {', '.join(FAMILIES)}")
    try:
        return importlib.import_module(f"jepa_ros_export.{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("jepa_ros"):
            raise
        raise BundleError(f"export: family {name} needs {error.name}; pip install 'jepa_ros[export]'") from error


def check_family(state: Mapping[str, Tensor], name: str, where: str) -> None:
    """Refuse a checkpoint that bears another family's marks and none of this one's; for an encoder alone, also one of a
    world model on that encoder.

    Raises:
        BundleError: naming the family that it is of, where one is recognised.
    """
    own = _marked(state, name) is not None
    if own and name not in _ENCODERS:
        return
    for other in FAMILIES:
        if other in (name, "generic") or (own and other in _ENCODERS):
            continue
        if (key := _marked(state, other)) is not None:
            shape = list(state[key].shape)
            raise BundleError(f"checkpoint {where}: is of family {other} (it has {key} {shape}), not {name}")
    if own:
        return
    first = next(iter(state))
    raise BundleError(
        f"checkpoint {where}: is not of family {name}, or under other names: it has {first} "
        f"{list(state[first].shape)}, and nothing like {' or '.join(family_module(name).MARKS)}"
    )


def one_model(state: Mapping[str, Tensor], name: str, prefix: str | None, where: str) -> dict[str, Tensor]:
    """A file's tensors, or those under a prefix where it has any.

    Args:
        prefix: as for `checkpoint.pick`; None for a file that holds one model.

    Raises:
        BundleError: it holds several whole models, and nobody says which.
    """
    held = copies(state, family_module(name).MARKS)
    if prefix is not None:
        return pick(state, prefix, held) or dict(state)
    if held:
        called = [f"under {begin}" if begin else "under no prefix" for begin in held]
        raise BundleError(
            f"checkpoint {where}: holds {len(held)} whole models of family {name}, {' and '.join(called)}; say which "
            f"with --prefix {' or --prefix '.join(begin or '.' for begin in held)}"
        )
    return dict(state)


def _marked(state: Mapping[str, Tensor], name: str) -> str | None:
    """The first parameter whose name is like one that only this family has; a family may have several marks."""
    try:
        marks = family_module(name).MARKS
    except BundleError:
        return None
    return next((key for mark in marks for key in state if re.search(mark, key)), None)
