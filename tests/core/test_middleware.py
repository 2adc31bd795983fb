"""What the middleware block of a robot file puts into the environment."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from jepa_ros.errors import RobotError
from jepa_ros.robots.middleware import MiddlewareSpec, environment


def test_on_this_machine_alone_the_launch_s_own_way_is_not_undone(tmp_path: Path):
    assert environment(MiddlewareSpec(), {}, tmp_path) == {}
    assert environment(MiddlewareSpec(domain_id=3, interface="eth0"), {}, tmp_path) == {"ROS_DOMAIN_ID": "3"}


def test_off_is_heard_by_nobody(tmp_path: Path):
    assert environment(MiddlewareSpec(discovery="off"), {}, tmp_path) == {"ROS_AUTOMATIC_DISCOVERY_RANGE": "OFF"}


def test_a_robot_on_cyclone_behind_one_interface(tmp_path: Path):
    spec = MiddlewareSpec(rmw="rmw_cyclonedds_cpp", domain_id=0, interface="eth0", discovery="subnet")
    found = environment(spec, {"ROS_DOMAIN_ID": "7"}, tmp_path)
    assert found["RMW_IMPLEMENTATION"] == "rmw_cyclonedds_cpp"
    assert found["ROS_DOMAIN_ID"] == "0"
    assert found["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "SUBNET"
    interface = ElementTree.fromstring(found["CYCLONEDDS_URI"]).find(".//NetworkInterface")
    assert interface is not None
    assert interface.get("name") == "eth0"


def test_a_robot_on_fast_dds_behind_one_interface(tmp_path: Path):
    spec = MiddlewareSpec(interface="wlan0", discovery="subnet")
    found = environment(spec, {}, tmp_path)
    tree = ElementTree.parse(found["FASTRTPS_DEFAULT_PROFILES_FILE"])
    named = [found.text for found in tree.iter("{http://www.eprosima.com}interface")]
    assert named == ["wlan0", "lo"]
    assert [found.text for found in tree.iter("{http://www.eprosima.com}nanosec")] == ["100000000"]


def test_an_interface_that_the_middleware_cannot_be_told_is_refused(tmp_path: Path):
    spec = MiddlewareSpec(rmw="rmw_zenoh_cpp", interface="eth0", discovery="subnet")
    with pytest.raises(RobotError, match=r"middleware\.interface: rmw_zenoh_cpp"):
        environment(spec, {}, tmp_path)
