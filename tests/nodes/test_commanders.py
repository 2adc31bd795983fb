"""Who counts as a second commander while DDS does not know its name yet."""

from __future__ import annotations

import pytest

from jepa_ros_nodes.commanders import Commanders

from .conftest import Rig

pytestmark = pytest.mark.dds
UNNAMED = ("_NODE_NAME_UNKNOWN_", "")


@pytest.fixture
def commanders(rig: Rig):
    found = Commanders(rig.probe, ["joint_commands", "lowcmd"], "command_watchdog", ["go2_bridge"])
    yield found
    found.close()


def told(commanders: Commanders, monkeypatch, seen: dict[str, list[tuple[str, str]]], times: list[float]) -> list:
    monkeypatch.setattr(commanders, "_publishers", lambda topic: seen.get(topic, []))
    return [commanders._strangers(t) for t in times]


def test_on_joint_commands_it_is_told_by_what_it_sends(commanders, monkeypatch):
    """A watchdog that was killed while it started had no name for 20 s, and the dog was damped."""
    assert told(commanders, monkeypatch, {"joint_commands": [UNNAMED]}, [0.0, 1.0, 10.0]) == [(), (), ()]


def test_elsewhere_it_has_some_seconds_to_be_named(commanders, monkeypatch):
    found = told(commanders, monkeypatch, {"lowcmd": [UNNAMED]}, [0.0, 3.4, 3.6])
    assert found == [(), (), ("a node without a name",)]
    assert told(commanders, monkeypatch, {"lowcmd": [("go2_bridge", "/")]}, [4.0]) == [()]
    assert told(commanders, monkeypatch, {"lowcmd": [UNNAMED]}, [5.0, 8.4]) == [(), ()], "another one, from anew"


def test_a_name_counts_at_once(commanders, monkeypatch):
    seen = {"joint_commands": [("probe", "/"), ("command_watchdog", "/"), ("teleop", "/")], "lowcmd": [("sdk", "/a")]}
    assert told(commanders, monkeypatch, seen, [0.0]) == [("/teleop", "/a/sdk")]
