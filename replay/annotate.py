"""What a replay says, as an MCAP file on the bag's clock: open it in Foxglove together with the bag.

Figures, events and images are JSON with a schema, which Foxglove reads and plots without an extension; joint targets
are a `sensor_msgs/msg/JointState`, so that they plot beside the recorded ones. The file is for looking at: ROS's own
bag player knows no JSON.
"""

from __future__ import annotations

import base64
import heapq
import json
import math
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from mcap.writer import CompressionType, Writer

from jepa_ros_replay.bags import BagError
from jepa_ros_replay.figures import png
from jepa_ros_replay.result import STAGES, ReplayResult
from jepa_ros_replay.typestores import known_definition, known_types

JOINT_STATE = "sensor_msgs/msg/JointState"
_LEVELS = {"info": 2, "warning": 3, "error": 4}
_UNKNOWN_LEVEL = 0
_FRAME = "camera"

# A message before it is written: ns, topic, bytes.
_Row = tuple[int, str, bytes]


def _schema(title: str, **properties: dict[str, Any]) -> dict[str, Any]:
    time = {
        "type": "object",
        "title": "time",
        "properties": {"sec": {"type": "integer"}, "nsec": {"type": "integer"}},
    }
    return {"title": title, "type": "object", "properties": {"timestamp": time, **properties}}


_NUMBER, _TEXT, _WHOLE = {"type": "number"}, {"type": "string"}, {"type": "integer"}
SCHEMAS = {
    "/replay/energy": _schema("jepa_ros.Energy", energy=_NUMBER, plan_energy=_NUMBER),
    "/replay/surprise": _schema("jepa_ros.Surprise", surprise=_NUMBER, limit=_NUMBER),
    "/replay/latency": _schema("jepa_ros.Latency", total_ms=_NUMBER, **{f"{stage}_ms": _NUMBER for stage in STAGES}),
    "/replay/safety": _schema("foxglove.Log", level=_WHOLE, message=_TEXT, name=_TEXT, file=_TEXT, line=_WHOLE),
    "/replay/surprising": _schema(
        "foxglove.CompressedImage", frame_id=_TEXT, data={"type": "string", "contentEncoding": "base64"}, format=_TEXT
    ),
}
COMMANDS = "/replay/shadow/joint_commands"


def write_annotated(path: Path, result: ReplayResult) -> Path:
    """Write the file, in the order of time; returns its path. A topic with nothing to say is left out.

    Raises:
        BagError: the file cannot be written.
    """
    streams = [_figures(result), _safety(result), _commands(result), _surprising(result)]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            writer = Writer(file, compression=CompressionType.ZSTD)
            writer.start(profile="", library="jepa_ros")
            writer.add_metadata("jepa_ros_replay", _origin(result))
            channels: dict[str, int] = {}
            for count, (time, topic, data) in enumerate(heapq.merge(*streams, key=itemgetter(0))):
                if topic not in channels:
                    channels[topic] = _channel(writer, topic)
                writer.add_message(channels[topic], log_time=time, data=data, publish_time=time, sequence=count)
            writer.finish()
    except OSError as error:
        raise BagError(f"{path}: cannot be written: {error.strerror}") from error
    return path


def _channel(writer: Writer, topic: str) -> int:
    if topic == COMMANDS:
        schema = writer.register_schema(JOINT_STATE, "ros2msg", known_definition(JOINT_STATE).encode())
        return writer.register_channel(topic, "cdr", schema)
    described = SCHEMAS[topic]
    schema = writer.register_schema(described["title"], "jsonschema", json.dumps(described).encode())
    return writer.register_channel(topic, "json", schema)


def _origin(result: ReplayResult) -> dict[str, str]:
    return {
        "bag": str(result.bag),
        "bundle": result.bundle,
        "bundle_sha256": result.bundle_sha256,
        "robot": result.robot,
        "through": result.through,
        "plan_sha256": result.plan_sha256,
    }


def _figures(result: ReplayResult) -> Iterator[_Row]:
    for row in sorted(result.plans, key=lambda row: row.t):
        if energies := _known(energy=row.energy, plan_energy=row.plan_energy):
            yield _json(row.t, "/replay/energy", energies)
        if surprises := _known(surprise=row.surprise):
            yield _json(row.t, "/replay/surprise", {**surprises, "limit": 1.0})
        stages = dict(zip((f"{stage}_ms" for stage in STAGES), row.stage_ms, strict=True))
        if known := _known(**stages):
            yield _json(row.t, "/replay/latency", {**known, "total_ms": sum(known.values())})


def _safety(result: ReplayResult) -> Iterator[_Row]:
    for row in sorted(result.safety, key=lambda row: row.t):
        level, message = _LEVELS.get(row.severity, _UNKNOWN_LEVEL), f"{row.reason}: {row.detail}"
        yield _json(
            row.t, "/replay/safety", {"level": level, "message": message, "name": "safety", "file": "", "line": 0}
        )


def _commands(result: ReplayResult) -> Iterator[_Row]:
    store = known_types()
    kinds = store.types
    nothing = np.zeros(0, dtype=np.float64)
    for row in sorted(result.commands, key=lambda row: row.t):
        time = _nanoseconds(row.t)
        stamp = kinds["builtin_interfaces/msg/Time"](sec=time // 10**9, nanosec=time % 10**9)
        message = kinds[JOINT_STATE](
            header=kinds["std_msgs/msg/Header"](stamp=stamp, frame_id=""),
            name=list(result.joint_names),
            position=np.asarray(row.position, dtype=np.float64),
            velocity=nothing,
            effort=nothing,
        )
        yield time, COMMANDS, bytes(store.serialize_cdr(message, JOINT_STATE))


def _surprising(result: ReplayResult) -> Iterator[_Row]:
    for t, image, _ in sorted(result.views, key=itemgetter(0)):
        data = base64.b64encode(png(image)).decode()
        yield _json(t, "/replay/surprising", {"frame_id": _FRAME, "data": data, "format": "png"})


def _json(t: float, topic: str, content: dict[str, Any]) -> _Row:
    time = _nanoseconds(t)
    stamped = {"timestamp": {"sec": time // 10**9, "nsec": time % 10**9}, **content}
    return time, topic, json.dumps(stamped, allow_nan=False).encode()


def _nanoseconds(t: float) -> int:
    return max(round(t * 1e9), 0)  # MCAP has no time before zero


def _known(**values: float) -> dict[str, float]:
    """Those that are numbers: JSON has no other."""
    return {name: float(value) for name, value in values.items() if math.isfinite(value)}
