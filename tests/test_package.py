"""The package as colcon and pip see it."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import yaml

from jepa_ros.bundle.loader import load_bundle
from jepa_ros.world_model import OnnxWorldModel

ROOT = Path(__file__).resolve().parents[1]
SETUP = (ROOT / "setup.py").read_text()
PACKAGE = ET.parse(ROOT / "package.xml").getroot()
INTERFACES = ET.parse(ROOT / "ros_ws" / "src" / "jepa_ros_msgs" / "package.xml").getroot()


@pytest.mark.parametrize("package", [PACKAGE, INTERFACES], ids=["jepa_ros", "jepa_ros_msgs"])
def test_package_xml_is_of_format_3(package):
    assert package.get("format") == "3"
    for tag in ("name", "version", "description", "maintainer", "license"):
        assert package.findtext(tag), tag
    assert package.find("export/build_type") is not None


def test_both_packages_have_the_version_of_setup_py():
    version = re.search(r'version="([^"]+)"', SETUP)
    assert version is not None
    assert PACKAGE.findtext("version") == INTERFACES.findtext("version") == version.group(1)


def test_every_ros_import_of_the_nodes_is_a_dependency():
    declared = {found.text for tag in ("depend", "exec_depend") for found in PACKAGE.findall(tag)}
    for path in sorted((ROOT / "nodes").glob("*.py")):
        for name in re.findall(r"^\s*(?:from|import) (\w+)", path.read_text(), re.MULTILINE):
            if name.endswith("_msgs") or name in ("rclpy", "builtin_interfaces", "std_srvs", "launch", "launch_ros"):
                assert name in declared, f"{path.name} imports {name}"


@pytest.mark.parametrize("entry", re.findall(r'"([\w-]+ = [\w.]+:\w+)"', SETUP))
def test_every_executable_is_there(entry):
    """A node's name has no hyphen, a tool's has; nodes are what launch files start."""
    name, _, target = entry.partition(" = ")
    module, _, function = target.partition(":")
    if module.startswith("jepa_ros_nodes"):
        pytest.importorskip("rclpy")
    assert callable(getattr(importlib.import_module(module), function))
    if "-" not in name:
        starters = [*(ROOT / "launch").glob("*.launch.py"), ROOT / "nodes" / "robot_launch.py"]
        launched = "".join(path.read_text() for path in starters)
        drivers = "".join(path.read_text() for path in (ROOT / "jepa_ros" / "robots").glob("*.yaml"))
        assert f'executable="{name}"' in launched or f"executable: {name}" in drivers


def test_every_parameter_in_config_is_declared_by_its_node():
    for path in sorted((ROOT / "config").glob("*.yaml")):
        for node, block in yaml.safe_load(path.read_text()).items():
            source = (ROOT / "nodes" / f"{node.rpartition('/')[2]}_node.py").read_text()
            for parameter in block["ros__parameters"]:
                assert f'"{parameter}"' in source, f"{path.name}: {node} declares no {parameter}"


def test_the_default_bundle_opens_and_is_small():
    folder = ROOT / "bundles" / "default"
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 20e6
    model = OnnxWorldModel(load_bundle(folder))
    assert set(model.bundle.goal_names()) >= {"middle", "east", "north", "west", "south"}
    assert (folder / "README.md").is_file()


def colcon(*arguments, folder):
    program = shutil.which("colcon", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if program is None:
        pytest.skip("colcon is not installed")
    environment = {**os.environ, "AMENT_PREFIX_PATH": os.environ.get("AMENT_PREFIX_PATH") or sys.prefix}
    line = [program, *arguments]
    done = subprocess.run(line, check=False, cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


PACKAGES = ["jepa_ros", "jepa_ros_msgs", "unitree_api", "unitree_go"]


def test_colcon_finds_the_packages_from_ros_ws(tmp_path):
    found = colcon("--log-base", str(tmp_path), "list", "--names-only", folder=ROOT / "ros_ws")
    assert found.split() == PACKAGES


def test_colcon_finds_the_packages_in_somebodys_workspace(tmp_path):
    """With the --base-paths that the README gives."""
    line = re.search(r"colcon build (--base-paths .*)", (ROOT / "README.md").read_text())
    assert line is not None
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "jepa_ros").symlink_to(ROOT)
    found = colcon("list", "--names-only", *line.group(1).split(), folder=tmp_path)
    assert found.split() == PACKAGES


@pytest.mark.parametrize("how", [[], ["--symlink-install"]], ids=["copied", "linked"])
def test_colcon_installs_what_the_launch_file_needs(tmp_path, how):
    """The interfaces have been built already; their minutes are spared here."""
    bases = ["--build-base", str(tmp_path / "build"), "--install-base", str(tmp_path / "install")]
    ignore = ["--packages-ignore", *PACKAGES[1:]]
    colcon("--log-base", str(tmp_path / "log"), "build", *ignore, *bases, *how, folder=ROOT / "ros_ws")
    prefix = tmp_path / "install" / "jepa_ros"
    executables = {path.name for path in (prefix / "lib" / "jepa_ros").iterdir()}
    assert executables >= {"world_model", "joint_command", "command_watchdog", "sim_dog", "recorder"}
    shebang = (prefix / "lib" / "jepa_ros" / "joint_command").read_text().splitlines()[0]
    assert shebang == f"#!{sys.executable}", "an executable runs with the Python that colcon was run with"
    share = prefix / "share" / "jepa_ros"
    for name in ("package.xml", "launch/sim.launch.py", "config/sim.yaml", "config/go2.yaml"):
        assert (share / name).is_file(), name
    assert load_bundle(share / "bundles" / "default").manifest.camera.width == 64
