#!/usr/bin/env python3
"""Build the interface packages of ros_ws against ROS 2 from PyPI, into this virtual environment, as plain CMake.

The wheels' exported CMake targets hold the include paths of the machine that built them; they are rewritten to this
interpreter's first. Nothing needs to be sourced afterwards: `import jepa_ros_msgs.msg` works in this environment.

A package is built again only when its sources, or those of a package it needs, have changed. Packages of others
(`unitree_go`) are left out where ROS 2, or a workspace that is sourced, has them already; `--in-underlay` prints
those, which is how `scripts/setup` tells colcon. `tf2_msgs` is a stand-in, which colcon never sees: every ROS 2 has it.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import xml.etree.ElementTree as ElementTree
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = (ROOT / "ros_ws" / "src", ROOT / "ros_ws" / "standins")
PREFIX = Path(sys.prefix)
OURS = {"jepa_ros_msgs"}
"""Always built: an older one of an underlay would not do."""


def sources() -> dict[str, Path]:
    """Folder of every package of the workspace."""
    return {path.parent.name: path.parent for folder in FOLDERS for path in sorted(folder.glob("*/package.xml"))}


def packages() -> dict[str, set[str]]:
    """Packages of the workspace, each after those of the workspace that it needs, with these."""
    needs = {}
    for name, folder in sources().items():
        root = ElementTree.parse(folder / "package.xml").getroot()  # noqa: S314 - a file of this repository
        needs[name] = {node.text or "" for node in root if node.tag.endswith("depend")}
    needs = {name: wanted & needs.keys() for name, wanted in needs.items()}
    return {name: needs[name] for name in TopologicalSorter(needs).static_order()}


def in_underlay(name: str) -> bool:
    """Whether a ROS 2 installation or workspace that is sourced has a package of this name."""
    prefixes = [Path(part) for part in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if part]
    others = [part for part in prefixes if part != PREFIX and not part.is_relative_to(ROOT / "ros_ws" / "install")]
    return name not in OURS and any((part / "share" / name / "package.xml").exists() for part in others)


def sources_hash(package: Path) -> str:
    """Of everything that one package's build reads."""
    digest = hashlib.sha256(sys.version.encode())
    for path in sorted(p for p in package.rglob("*") if p.is_file()):
        digest.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def rewrite_include_paths() -> None:
    """Point the wheels' CMake targets at this interpreter's headers and at this environment's NumPy."""
    import numpy

    python, headers = sysconfig.get_path("include"), numpy.get_include()
    for path in (PREFIX / "share").glob("*/cmake/*.cmake"):
        text = path.read_text()
        found = re.sub(r"/opt/python/[^;\"]*?/include/python3\.\d+", python, text)
        found = re.sub(r"/opt/python/[^;\"]*?/numpy/_core/include", headers, found)
        if found != text:
            path.write_text(found)


def build(name: str) -> bool:
    """Configure, build and install one package; whether that worked."""
    underlays = [str(PREFIX), *filter(None, [os.environ.get("AMENT_PREFIX_PATH")])]
    environment = dict(os.environ, AMENT_PREFIX_PATH=os.pathsep.join(underlays), CMAKE_PREFIX_PATH=str(PREFIX))
    environment["PATH"] = f"{PREFIX / 'bin'}{os.pathsep}{environment['PATH']}"
    log = PREFIX / f"{name}_build.log"
    with tempfile.TemporaryDirectory() as folder, log.open("w") as output:
        configure = ["cmake", "-S", str(sources()[name]), "-B", folder, "-G", "Ninja"]
        configure += [
            f"-DCMAKE_INSTALL_PREFIX={PREFIX}",
            f"-DPython3_EXECUTABLE={sys.executable}",
            "-DBUILD_TESTING=OFF",
            "-DCMAKE_BUILD_TYPE=Release",
            "-Wno-dev",
        ]
        for step in (configure, ["cmake", "--build", folder, "--target", "install"]):
            if subprocess.run(step, env=environment, stdout=output, stderr=subprocess.STDOUT, check=False).returncode:
                print(f"{name}: `{' '.join(step[:2])}` failed; the whole output is in {log}, its end:", file=sys.stderr)
                print("\n".join(log.read_text().splitlines()[-15:]), file=sys.stderr)
                return False
    return True


def main() -> int:
    """Bring every package up to date."""
    wanted = packages()
    if "--in-underlay" in sys.argv[1:]:
        print(" ".join(name for name in wanted if in_underlay(name)))
        return 0
    built: set[str] = set()
    for name, needs in wanted.items():
        if in_underlay(name):
            print(f"{name}: the underlay's is used")
            continue
        stamp = PREFIX / "share" / name / ".built_from"
        current = sources_hash(sources()[name])
        if stamp.exists() and stamp.read_text() == current and not needs & built:
            print(f"{name}: up to date")
            continue
        if not built:
            rewrite_include_paths()
        if not build(name):
            return 1
        built.add(name)
        stamp.write_text(current)
        print(f"{name}: built")
    return 0


if __name__ == "__main__":
    sys.exit(main())
