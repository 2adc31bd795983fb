#!/usr/bin/env python3
"""Build the interface package against ROS 2 from PyPI and install it into this virtual environment, as plain CMake.

The wheels' exported CMake targets hold the include paths of the machine that built them; they are rewritten to this
interpreter's first. Nothing needs to be sourced afterwards: `import jepa_ros_msgs.msg` works in this environment.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "ros_ws" / "src" / "jepa_ros_msgs"
PREFIX = Path(sys.prefix)
STAMP = PREFIX / "share" / "jepa_ros_msgs" / ".built_from"


def sources_hash() -> str:
    """Of everything the build reads."""
    digest = hashlib.sha256(sys.version.encode())
    for path in sorted(p for p in PACKAGE.rglob("*") if p.is_file()):
        digest.update(path.relative_to(PACKAGE).as_posix().encode() + path.read_bytes())
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


def main() -> int:
    if STAMP.exists() and STAMP.read_text() == sources_hash():
        print("interfaces: up to date")
        return 0
    rewrite_include_paths()
    environment = dict(os.environ, AMENT_PREFIX_PATH=str(PREFIX), CMAKE_PREFIX_PATH=str(PREFIX))
    environment["PATH"] = f"{PREFIX / 'bin'}{os.pathsep}{environment['PATH']}"
    log = PREFIX / "jepa_ros_msgs_build.log"
    with tempfile.TemporaryDirectory() as build, log.open("w") as output:
        configure = ["cmake", "-S", str(PACKAGE), "-B", build, "-G", "Ninja", f"-DCMAKE_INSTALL_PREFIX={PREFIX}"]
        configure += [
            f"-DPython3_EXECUTABLE={sys.executable}",
            "-DBUILD_TESTING=OFF",
            "-DCMAKE_BUILD_TYPE=Release",
            "-Wno-dev",
        ]
        for step in (configure, ["cmake", "--build", build, "--target", "install"]):
            if subprocess.run(step, env=environment, stdout=output, stderr=subprocess.STDOUT, check=False).returncode:
                print(
                    f"interfaces: `{' '.join(step[:2])}` failed; the whole output is in {log}, its end:",
                    file=sys.stderr,
                )
                print("\n".join(log.read_text().splitlines()[-15:]), file=sys.stderr)
                return 1
    STAMP.write_text(sources_hash())
    print("interfaces: built")
    return 0


if __name__ == "__main__":
    sys.exit(main())
