"""The interface packages that others own: their layout to the bit, where it came from, and who wins where both are."""

from __future__ import annotations

import importlib.util
import json
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = [ROOT / "ros_ws" / "src", ROOT / "ros_ws" / "standins"]
# ROS's own hash of a definition and of everything in it (REP-2011), as generated from what the owners published.
PUBLISHED = {
    "unitree_go/msg/LowCmd": "0da1142c994d184f6102948c3acf52b9557836cfe5062b924a1f08ac8b72dc34",
    "unitree_go/msg/LowState": "db5172cac933e3cfc0e705903343eb4eea42e65e224e9d726d3e672aec0caf0f",
    "unitree_go/msg/SportModeState": "814b4692a904d586a0c6fe49ce344480434364d0fb410d06df2986a16e79fcd4",
    "unitree_go/msg/Go2FrontVideoData": "f548f7ccf101bb0255b0541484ab42aaac31305ccba06db976a8a19a3dbb1a33",
    "unitree_api/msg/Request": "60dda80d19538b06c8f79b77222b1b7642dd753b8439a6bd535ff0cba08c5378",
    "unitree_api/msg/Response": "5300d019bb652073e7248995c878765c68ab519bcbdbad2e2a17c81abd8888b9",
    "tf2_msgs/msg/TFMessage": "e369d0f05a23ae52508854b66f6aa0437f3449d652e8cbf22d5abe85d020f087",
}


@pytest.fixture
def build():
    """scripts/build_interfaces.py as a module."""
    spec = importlib.util.spec_from_file_location("build_interfaces", ROOT / "scripts" / "build_interfaces.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_message_has_the_hash_of_the_published_one(name):
    package, _, message = name.split("/")
    path = Path(sys.prefix) / "share" / package / "msg" / f"{message}.json"
    if (Path(sys.prefix) / ".ros_setup").exists() and not path.is_file():
        pytest.skip(f"{package} is the underlay's or colcon's, not this environment's")
    hashes = {entry["type_name"]: entry["hash_string"] for entry in json.loads(path.read_text())["type_hashes"]}
    assert hashes[name] == f"RIHS01_{PUBLISHED[name]}"


@pytest.mark.parametrize("package", ["unitree_go", "unitree_api", "tf2_msgs"])
def test_a_package_of_others_names_its_source_and_licence(package):
    (folder,) = [folder / package for folder in FOLDERS if (folder / package).is_dir()]
    root = ET.parse(folder / "package.xml").getroot()
    assert root.findtext("license") == "BSD-3-Clause"
    assert root.findtext("url").startswith("https://github.com/")
    listed = (folder / "CMakeLists.txt").read_text()
    for path in (folder / "msg").glob("*.msg"):
        assert f'"msg/{path.name}"' in listed


def test_a_package_comes_after_those_that_it_needs(build, tmp_path):
    for name, needs in (("a_msgs", ["c_msgs", "std_msgs"]), ("b_msgs", []), ("c_msgs", ["b_msgs"])):
        (tmp_path / name).mkdir()
        lines = "".join(f"<depend>{need}</depend>" for need in needs)
        (tmp_path / name / "package.xml").write_text(f"<package><name>{name}</name>{lines}</package>")
    build.FOLDERS = (tmp_path,)
    found = build.packages()
    assert list(found) == ["b_msgs", "c_msgs", "a_msgs"]
    assert found["a_msgs"] == {"c_msgs"}


def test_an_underlay_wins_but_not_over_our_own(build, tmp_path, monkeypatch):
    for name in ("unitree_go", "jepa_ros_msgs"):
        (tmp_path / "share" / name).mkdir(parents=True)
        (tmp_path / "share" / name / "package.xml").write_text("<package/>")
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"/nowhere:{tmp_path}")
    assert build.in_underlay("unitree_go")
    assert not build.in_underlay("unitree_api")
    assert not build.in_underlay("jepa_ros_msgs")
    monkeypatch.delenv("AMENT_PREFIX_PATH")
    assert not build.in_underlay("unitree_go")
