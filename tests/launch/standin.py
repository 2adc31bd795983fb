"""Running launch files with the tree's stand-in, for the tests beside this file."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

JEPA_LAUNCH = Path(sys.executable).with_name("jepa-launch")
# The tree's stand-in, not the copy of it that set-up installed: that one may be older.
STANDINS = Path(__file__).resolve().parents[2] / "ros_ws" / "standins"
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(STANDINS), os.environ.get("PYTHONPATH")]))}
HEAD = """
from launch import LaunchDescription
from launch.actions import *
from launch.conditions import IfCondition, UnlessCondition
from launch.event_handlers import OnProcessExit, OnShutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PythonExpression, EnvironmentVariable, ThisLaunchFileDir
from launch_ros.actions import Node, LifecycleNode, PushRosNamespace
PYTHON = {python!r}
def generate_launch_description():
"""


def write(folder: Path, body: str, name: str = "test.launch.py") -> Path:
    path = folder / name
    path.write_text(HEAD.format(python=sys.executable) + textwrap.indent(textwrap.dedent(body), "    "))
    return path


def launch(*arguments, timeout=60, **environment):
    line = [str(JEPA_LAUNCH), *map(str, arguments)]
    return subprocess.run(
        line, check=False, capture_output=True, text=True, timeout=timeout, env={**ENVIRONMENT, **environment}
    )
