"""Reads what replays have left, one bag's summary.json or that of many bags, and matches the bags of two of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from jepa_ros_replay.bags import BagError


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Percentiles(_Part):
    """Of a figure over the frames of a bag; None where there is none."""

    p50: float | None
    p99: float | None


class Horizon(_Part):
    """Open-loop error after so many model steps, of the model and of copying the last latent."""

    steps: int
    model: float | None
    copy_last: float | None


class Summary(_Part):
    """What of one bag's summary is compared."""

    bag: str
    surprise: Percentiles
    open_loop: list[Horizon]
    stage_ms: dict[str, Percentiles]
    safety_events: dict[str, int]
    frames_late: int
    frames_refused: dict[str, int]
    plans: int = Field(default=0)
    plan_sha256: str = Field(default="")


Loose = Mapping[str, Any]


def read_summaries(path: Path) -> list[dict[str, Any]]:
    """The summaries in a file: its own, or those of its rows where it is of many bags.

    Raises:
        BagError: no such file, no JSON, no summary, or not one bag in it was replayed.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BagError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise BagError(f"{path}: is not JSON ({error}); give a summary.json that jepa-replay wrote") from error
    if not isinstance(found, dict):
        raise BagError(f"{path}: is no summary of a replay; give a summary.json that jepa-replay wrote")
    rows = found.get("rows", [{"summary": found}])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BagError(f"{path}: the key 'rows' is not a list of bags")
    summaries = [row["summary"] for row in rows if row.get("summary") is not None]
    if not summaries:
        raise BagError(f"{path}: not one bag in it was replayed")
    for summary in summaries:
        parse(summary, str(path))
    return summaries


def parse(summary: Loose, name: str) -> Summary:
    """Check one summary.

    Raises:
        BagError: a key is missing, or holds something else; the message names it and `name`.
    """
    try:
        return Summary.model_validate(summary)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if not key:
            raise BagError(f"{name}: is no summary of a replay") from error
        what = "is missing" if first["type"] == "missing" else f"does not fit: {first['msg']}"
        raise BagError(f"{name}: is no summary of a replay: the key {key!r} {what}") from error


def match(old: Sequence[Summary], new: Sequence[Summary]) -> dict[str, tuple[Summary | None, Summary | None]]:
    """Bags of both by their name, which has as many folders before it as it takes to tell a side's bags apart.

    Raises:
        BagError: one bag stands twice on a side, or the two have no bag in common.
    """
    deepest = max(len(Path(summary.bag).parts) for summary in (*old, *new))
    for depth in range(1, deepest + 1):
        sides = [{"/".join(Path(s.bag).parts[-depth:]): s for s in side} for side in (old, new)]
        if len(sides[0]) == len(old) and len(sides[1]) == len(new):
            break
    else:
        raise BagError("a bag stands twice in one of the summaries, so that its rows cannot be matched")
    before, after = sides
    if not before.keys() & after.keys():
        raise BagError(
            f"the summaries have no bag in common: {', '.join(sorted(before)[:5])} there, "
            f"{', '.join(sorted(after)[:5])} here"
        )
    return {name: (before.get(name), after.get(name)) for name in sorted(before.keys() | after.keys())}
