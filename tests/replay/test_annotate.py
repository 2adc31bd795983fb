"""The annotated file: on the bag's clock, in time order, with schemas that Foxglove knows."""

from __future__ import annotations

import base64
import json
import struct
from dataclasses import replace

import cv2
import numpy as np
import pytest
from mcap.reader import make_reader
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from jepa_ros_replay.annotate import COMMANDS, JOINT_STATE, write_annotated
from jepa_ros_replay.bags import Bag, BagError
from jepa_ros_replay.result import PlanRow

from .results import BEGAN, JOINTS, empty_result, full_result


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write_annotated(tmp_path_factory.mktemp("annotated") / "annotated.mcap", full_result())


def read(path):
    """Rows (schema, channel, message), in the order of the file."""
    with path.open("rb") as file:
        return list(make_reader(file).iter_messages(log_time_order=False))


def on(path, topic):
    return [
        (message.log_time, json.loads(message.data)) for _, channel, message in read(path) if channel.topic == topic
    ]


def test_every_topic_has_its_schema_and_encoding(path):
    found = {
        channel.topic: (channel.message_encoding, schema.encoding, schema.name) for schema, channel, _ in read(path)
    }
    assert found == {
        "/replay/energy": ("json", "jsonschema", "jepa_ros.Energy"),
        "/replay/surprise": ("json", "jsonschema", "jepa_ros.Surprise"),
        "/replay/latency": ("json", "jsonschema", "jepa_ros.Latency"),
        "/replay/safety": ("json", "jsonschema", "foxglove.Log"),
        "/replay/surprising": ("json", "jsonschema", "foxglove.CompressedImage"),
        COMMANDS: ("cdr", "ros2msg", JOINT_STATE),
    }


def test_messages_have_what_their_schema_says(path):
    kinds = {"object": dict, "number": (int, float), "integer": int, "string": str}
    for schema, _, message in read(path):
        if schema.encoding == "jsonschema":
            described = json.loads(schema.data)
            assert (described["type"], described["title"]) == ("object", schema.name)
            content = json.loads(message.data)
            assert content.keys() <= described["properties"].keys()
            for key, value in content.items():
                assert isinstance(value, kinds[described["properties"][key]["type"]]), key


def test_times_are_the_bags_and_in_order(path):
    rows = read(path)
    times = [message.log_time for _, _, message in rows]
    assert times == sorted(times)
    assert min(times) == int(BEGAN) * 10**9
    for _, channel, message in rows:
        if channel.message_encoding == "json":
            stamp = json.loads(message.data)["timestamp"]
            assert stamp["sec"] * 10**9 + stamp["nsec"] == message.log_time


def test_figures_are_those_of_the_plans(path):
    result = full_result()
    assert [row["energy"] for _, row in on(path, "/replay/energy")] == [plan.energy for plan in result.plans]
    surprises = on(path, "/replay/surprise")
    assert len(surprises) == len(result.plans) - 1, "the first frame has no surprise"
    assert surprises[0][1]["surprise"] == result.plans[1].surprise
    assert surprises[0][1]["limit"] == 1.0
    latency = on(path, "/replay/latency")[0][1]
    assert latency["total_ms"] == pytest.approx(sum(result.plans[0].stage_ms))
    assert latency["encode_ms"] == result.plans[0].stage_ms[2]


def test_safety_events_are_log_messages(path):
    rows = on(path, "/replay/safety")
    assert [row["level"] for _, row in rows] == [2, 3]
    assert rows[1][1]["message"] == "plan_stale: the plan was 0.6 s old & no other came"
    assert rows[1][0] == int((BEGAN + 3.5) * 10) * 10**8


def test_images_come_back_as_they_were(path):
    rows = on(path, "/replay/surprising")
    assert [row["format"] for _, row in rows] == ["png", "png"]
    assert rows[0][0] < rows[1][0]
    image = cv2.imdecode(np.frombuffer(base64.b64decode(rows[1][1]["data"]), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(image[..., ::-1], full_result().views[0][1])


def test_commands_are_joint_states_that_the_embedded_definition_reads(path):
    found = [(schema, message) for schema, channel, message in read(path) if channel.topic == COMMANDS]
    assert len(found) == len(full_result().commands)
    store = get_typestore(Stores.EMPTY)
    store.register(get_types_from_msg(found[0][0].data.decode(), JOINT_STATE))
    state = store.deserialize_cdr(found[3][1].data, JOINT_STATE)
    assert tuple(state.name) == JOINTS
    np.testing.assert_array_equal(state.position, np.full(4, 0.5))
    assert state.header.stamp.sec * 10**9 + state.header.stamp.nanosec == found[3][1].log_time


def test_the_room_reads_the_commands_back(path):
    bag = Bag(path)
    assert bag.topics == {COMMANDS: JOINT_STATE}
    assert len(list(bag.messages())) == len(full_result().commands)


def test_chunks_are_packed_with_zstd(path):
    with path.open("rb") as file:
        summary = make_reader(file).get_summary()
    assert {index.compression for index in summary.chunk_indexes} == {"zstd"}


def test_the_file_says_where_it_comes_from(path):
    with path.open("rb") as file:
        found = {record.name: record.metadata for record in make_reader(file).iter_metadata()}
    assert found["jepa_ros_replay"]["plan_sha256"] == full_result().plan_sha256


def test_stamps_out_of_order_are_put_in_order(tmp_path):
    result = full_result()
    path = write_annotated(tmp_path / "a.mcap", replace(result, plans=result.plans[::-1]))
    times = [message.log_time for _, _, message in read(path)]
    assert times == sorted(times)


def test_nothing_gives_an_empty_file_that_opens(tmp_path):
    path = write_annotated(tmp_path / "deep" / "a.mcap", empty_result())
    assert read(path) == []


def test_what_is_no_number_is_left_out(tmp_path):
    nan = float("nan")
    plans = [PlanRow(1.0, nan, nan, 0, 2.0, (nan, nan, 1.0, nan), "", None, None)]
    rows = on(write_annotated(tmp_path / "a.mcap", replace(empty_result(), plans=plans)), "/replay/energy")
    assert rows == [(10**9, {"timestamp": {"sec": 1, "nsec": 0}, "plan_energy": 2.0})]


def test_a_file_that_cannot_be_written_is_refused_by_its_name(tmp_path):
    (tmp_path / "a.mcap").mkdir()
    with pytest.raises(BagError, match=r"a.mcap: cannot be written"):
        write_annotated(tmp_path / "a.mcap", empty_result())


def test_commands_begin_with_a_little_endian_header(path):
    data = next(message.data for _, channel, message in read(path) if channel.topic == COMMANDS)
    assert struct.unpack("4B", data[:4]) == (0, 1, 0, 0)
