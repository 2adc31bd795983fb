"""What a bundle is and what a robot needs to run it, as one block of plain values: `jepa-bundle show`."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from jepa_ros.bundle.loader import Bundle
from jepa_ros.bundle.manifest import Manifest
from jepa_ros.bundle.plan_cost import PlanCost, plan_cost, planner_settings
from jepa_ros.bundle.signing import signed_by
from jepa_ros.errors import JepaRosError, RobotError
from jepa_ros.motion import check_units, motion_kind
from jepa_ros.robots import RobotModel
from jepa_ros.runtime import choose_providers

_IDENTITY = {"schema_version", "family", "name", "licence", "source", "created_by", "precision"}


def bundle_card(bundle: Bundle, robot: RobotModel) -> dict[str, Any]:
    """The manifest's blocks, and beside them:

    - `identity`: its first fields, and `signed_by`, the key that a signature names (nothing is verified here)
    - `planner`: with the planner's own settings where the manifest leaves them open
    - `goals`: names of the views that came with it
    - `files`: bytes and sha256 by name
    - `plan`: what one plan costs, see `PlanCost`; None where it cannot be counted, with a warning
    - `needs`: what a robot must have
    - `warnings`: sentences on what its owner should know

    Args:
        bundle: an opened bundle.
        robot: whose motions are asked whether they accept the action.

    Raises:
        BundleError: a damaged signature.
    """
    manifest = bundle.manifest
    blocks = manifest.model_dump(mode="json")
    warnings = _warnings(manifest)
    try:
        cost: PlanCost | None = plan_cost(bundle)
        planner = asdict(planner_settings(manifest))
    except JepaRosError as error:
        cost, planner = None, {}
        warnings.append(f"what a plan costs cannot be counted: {error}")
    return {
        "identity": {
            **{name: value for name, value in blocks.items() if name in _IDENTITY},
            "signed_by": signed_by(bundle.path),
        },
        **{name: value for name, value in blocks.items() if name not in {*_IDENTITY, "files"}},
        "planner": {"name": manifest.planner.name, **planner, **_set(blocks["planner"])},
        "goals": bundle.goal_names(),
        "files": {
            name: {"bytes": (bundle.path / name).stat().st_size, "sha256": text}
            for name, text in manifest.files.items()
        },
        "plan": None if cost is None else _plan(cost),
        "needs": _needs(manifest, cost, robot),
        "warnings": warnings,
    }


def _set(block: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in block.items() if value is not None}


def _plan(cost: PlanCost) -> dict[str, Any]:
    return {
        "samples": cost.samples,
        "iterations": cost.iterations,
        "horizon": cost.horizon,
        "flops": cost.flops,
        "weight_bytes": cost.weight_bytes,
        "rows_at_once": cost.rows,
        "buffer_bytes": cost.buffer_bytes,
        "activation_bytes": cost.activation_bytes,
        "graphs": [
            {
                "file": use.file,
                "calls": use.calls,
                "batch": use.batch,
                "flops_a_call": use.cost.flops,
                "flops": use.flops,
                "weight_bytes": use.cost.weight_bytes,
            }
            for use in cost.uses
        ],
    }


def _needs(manifest: Manifest, cost: PlanCost | None, robot: RobotModel) -> dict[str, Any]:
    camera, action, step = manifest.camera, manifest.action, manifest.timing.step_s
    try:
        motion: str | None = motion_kind(robot, action.names)
        check_units(action.names, action.units, action.frame)
        why = None
    except RobotError as error:
        motion, why = None, str(error)
    return {
        "camera": {
            "topics": ["camera/image_raw", "camera/camera_info"],
            "horizontal_fov_deg": _degrees(camera.horizontal_fov_rad),
            "warned_when_off_by_deg": _degrees(camera.fov_tolerance_rad),
            "refused_when_off_by_deg": _degrees(3 * camera.fov_tolerance_rad),
            "mount": camera.mount.model_dump(),
        },
        "measured": None if manifest.proprio is None else manifest.proprio.model_dump(),
        "action": {
            "names": list(action.names),
            "units": list(action.units),
            "robot": robot.name,
            "motion": motion,
            "why_no_motion": why,
        },
        "plans_hz": 1 / step,
        "history_s": step * (manifest.timing.history_min - 1),
        "memory_bytes": None if cost is None else cost.memory_bytes,
        "flops_a_second": None if cost is None else cost.flops / step,
        "providers_with_a_tolerance": sorted(
            key.partition(":")[0]
            for key in manifest.calibration.tolerance
            if key.partition(":")[2] == manifest.precision
        ),
        "providers_here": list(choose_providers()),
    }


def _warnings(manifest: Manifest) -> list[str]:
    found = []
    if manifest.calibration.measured_on != "recordings":
        found.append(
            f"its calibration was measured on {manifest.calibration.measured_on} inputs: arrival and surprise say "
            "nothing of a robot until it is exported with recordings"
        )
    if manifest.camera.horizontal_fov_rad is None:
        found.append("the training camera's field of view is not known: a robot's wrong lens will not be noticed")
    return found


def _degrees(angle: float | None) -> float | None:
    return None if angle is None else math.degrees(angle)
