"""`trusted_keys`: a world_model that is given keys runs only what one of them has signed."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml

from jepa_ros.bundle import keys
from jepa_ros.bundle.signing import sign_bundle
from jepa_ros_nodes.launching import RunningLaunch, private_environment

from .conftest import Rig
from .test_lifecycle import CONFIGURE, change

pytestmark = pytest.mark.dds


def test_a_bundle_is_refused_until_its_owner_signs_it(rig: Rig, tiny_bundle: Path, tmp_path: Path) -> None:
    owner, stranger = tmp_path / "owner", tmp_path / "stranger"
    for key in (owner, stranger):
        keys.make_keys(key)
    trusted = [str(tmp_path / "second.pub"), f"{owner}.pub"]
    keys.make_keys(tmp_path / "second")
    rig.start("world_model", autostart=False, bundle=tiny_bundle, trusted_keys=trusted)
    assert not change(rig, "world_model", CONFIGURE)
    assert "tiny: is not signed" in rig.log("world_model")
    sign_bundle(tiny_bundle, stranger)
    assert not change(rig, "world_model", CONFIGURE)
    assert "which is none of the trusted" in rig.log("world_model")
    sign_bundle(tiny_bundle, owner)
    assert change(rig, "world_model", CONFIGURE)


@pytest.mark.parametrize("where", ["argument", "parameter file"])
def test_keys_reach_the_node_from_a_launch_file(tiny_bundle: Path, tmp_path: Path, where: str) -> None:
    """And those of a parameter file are not undone by an argument that nobody gave."""
    keys.make_keys(tmp_path / "owner")
    file, arguments = tmp_path / "robot.yaml", {"bag": "", "bundle": str(tiny_bundle)}
    if where == "argument":
        arguments["trusted_keys"] = f"{tmp_path}/owner.pub,{tmp_path}/owner.pub"
    else:
        named = {"trusted_keys": [f"{tmp_path}/owner.pub"]}
        file.write_text(yaml.safe_dump({"/**/world_model": {"ros__parameters": named}}))
        arguments["params_file"] = str(file)
    log = tmp_path / "launch.log"
    with RunningLaunch("replay.launch.py", arguments, log, private_environment()):
        until = time.monotonic() + 60
        while "tiny: is not signed" not in log.read_text():
            assert time.monotonic() < until, log.read_text()[-2000:]
            time.sleep(0.1)


def test_keys_reach_the_player_too(tiny_bundle: Path, tmp_path: Path) -> None:
    """Which reads the bundle as well, and before anything else that could fail."""
    keys.make_keys(tmp_path / "owner")
    arguments = {
        "bag": str(tmp_path / "none.mcap"),
        "bundle": str(tiny_bundle),
        "trusted_keys": f"{tmp_path}/owner.pub,{tmp_path}/owner.pub",
    }
    log = tmp_path / "launch.log"
    with RunningLaunch("replay.launch.py", arguments, log, private_environment()) as launch:
        launch.process.wait(60)
    (refusal,) = [line for line in log.read_text().splitlines() if "[player" in line and "is not signed" in line]
    assert "tiny: is not signed" in refusal
