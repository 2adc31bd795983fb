"""Messages are decoded with the right definition, and those that cannot be are named."""

from __future__ import annotations

import numpy as np
import pytest
from mcap.writer import Writer as McapLibrary
from rosbags.rosbag1 import Writer as Writer1
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from jepa_ros_replay.bags import Bag, BagError, BagMessage
from jepa_ros_replay.typestores import known_definition

from . import bag_files
from .bag_files import ACTION, JOINTS, read


def test_messages_are_decoded_with_the_definition_in_the_bag(tmp_path):
    """Here an older JointState that nobody else has."""
    path = tmp_path / "a.mcap"
    text = known_definition(JOINTS).replace("float64[] effort", "float64[] torque")
    with path.open("wb") as file:
        writer = McapLibrary(file)
        writer.start(profile="ros2")
        schema = writer.register_schema(JOINTS, "ros2msg", text.encode())
        channel = writer.register_channel("/joint_states", "cdr", schema)
        data = bag_files.rows(2)[1][2]
        writer.add_message(channel, 1, data, 1)
        writer.finish()
    bag = Bag(path)
    (message,) = bag.messages()
    assert bag.deserialize(message).torque.tolist() == [0.0] * 3


@pytest.mark.parametrize("schema", [b"", b"float64[ nonsense", b"int8 x"], ids=["none", "nonsense", "another's"])
def test_messages_without_a_usable_definition_are_decoded_with_the_known_one(tmp_path, schema):
    path = tmp_path / "a.mcap"
    with path.open("wb") as file:
        writer = McapLibrary(file)
        writer.start(profile="ros2")
        id_ = writer.register_schema(ACTION, "ros2msg" if schema else "", schema)
        channel = writer.register_channel("/applied_action", "cdr", id_)
        writer.add_message(channel, 1, bag_files.rows(3)[2][2], 1)
        writer.finish()
    bag = Bag(path)
    (message,) = bag.messages()
    if schema != b"int8 x":
        assert bag.deserialize(message).names == ["vx", "vy", "wz"]
    else:
        with pytest.raises(BagError, match="/applied_action at byte"):
            bag.deserialize(message)


def test_a_message_that_cannot_be_decoded_is_named(tmp_path):
    rows = bag_files.rows(3)
    bag = Bag(bag_files.write_ours(tmp_path / "bag", [(rows[1][0], rows[1][1], rows[1][2][:20]), rows[2]]))
    broken, whole = bag.messages()
    with pytest.raises(BagError, match=r"the message on /joint_states at byte \d+, log time \d+ ns, cannot be decoded"):
        bag.deserialize(broken)
    assert bag.deserialize(whole).names == ["vx", "vy", "wz"]
    for data in (b"", b"\x00", b"junk of no kind", whole.data[:-1], whole.data * 2):
        with pytest.raises(BagError):
            bag.deserialize(BagMessage("/t", ACTION, 0, data, None))
    with pytest.raises(BagError, match="no usable definition of a/msg/B"):
        bag.deserialize(BagMessage("/t", "a/msg/B", 0, whole.data, None))


def test_objects_are_encoded_as_they_were_decoded(tmp_path):
    rows = bag_files.rows(3)
    bag = Bag(bag_files.write_ours(tmp_path / "bag", rows))
    for message in bag.messages():
        assert bag.serialize(bag.deserialize(message), message.kind) == message.data
    assert "float64[] position" in bag.definition(JOINTS)
    stamp = bag.new("builtin_interfaces/msg/Time", sec=1, nanosec=2)
    with pytest.raises(BagError, match=f"an object cannot be encoded as {JOINTS}"):
        bag.serialize(stamp, JOINTS)
    for call in (
        lambda: bag.definition("a/msg/B"),
        lambda: bag.new("a/msg/B"),
        lambda: bag.serialize(stamp, "a/msg/B"),
    ):
        with pytest.raises(BagError, match="no usable definition of a/msg/B"):
            call()


def test_ros1_types_become_those_of_ros2(tmp_path):
    """Also where these have other fields, and where ROS 2 knows no such type."""
    store = get_typestore(Stores.ROS1_NOETIC)
    store.register(get_types_from_msg("Header header\nfloat32 odd\n", "my_msgs/msg/Odd"))
    types = store.types
    head = types["std_msgs/msg/Header"](
        seq=7, stamp=types["builtin_interfaces/msg/Time"](sec=3, nanosec=4), frame_id="f"
    )
    region = types["sensor_msgs/msg/RegionOfInterest"](x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    numbers = {"D": np.arange(5.0), "K": np.arange(9.0), "R": np.arange(9.0), "P": np.arange(12.0)}
    lens = types["sensor_msgs/msg/CameraInfo"](
        header=head, height=2, width=3, distortion_model="m", **numbers, binning_x=0, binning_y=0, roi=region
    )
    near = types["sensor_msgs/msg/Range"](
        header=head, radiation_type=1, field_of_view=0.5, min_range=0.25, max_range=4.0, range=2.0
    )
    with Writer1(tmp_path / "a.bag") as writer:
        for number, made in enumerate((lens, near, types["my_msgs/msg/Odd"](header=head, odd=0.5))):
            connection = writer.add_connection(f"/t{number}", made.__msgtype__, typestore=store)
            writer.write(connection, number, store.serialize_ros1(made, made.__msgtype__))
    bag = Bag(tmp_path / "a.bag")
    found = [bag.deserialize(message) for message in bag.messages()]
    assert bag.faults == []
    assert found[0].k.tolist() == list(range(9))
    assert found[0].header.stamp.sec == 3
    assert (found[1].range, found[1].variance) == (2.0, 0.0), "a field that only ROS 2 has"
    assert (found[2].odd, found[2].header.frame_id) == (0.5, "f")


def test_messages_that_are_not_cdr_are_left_out_and_told(tmp_path):
    path = tmp_path / "a.mcap"
    with path.open("wb") as file:
        writer = McapLibrary(file)
        writer.start()
        schema = writer.register_schema("thing", "jsonschema", b"{}")
        channel = writer.register_channel("/thing", "json", schema)
        writer.add_message(channel, 1, b"{}", 1)
        writer.finish()
    bag = Bag(path)
    assert read(bag) == []
    assert [fault.what for fault in bag.faults] == ["topic /thing is left out: it is encoded as json, not as cdr"]
