"""SROS 2: a process that is asked to be secure is, or does not start.

rcl takes much for "no security", without a word: `ROS_SECURITY_ENABLE=True` (only `true` counts), a strategy other than
exactly `Enforce`, and under such a strategy a keystore that is missing or lacks this process's keys. A robot that was
meant to be locked would then stand open. So everything is looked at before the process joins the graph.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import rclpy
from rclpy.node import Node

from jepa_ros.errors import JepaRosError

ENABLE, STRATEGY, KEYSTORE = "ROS_SECURITY_ENABLE", "ROS_SECURITY_STRATEGY", "ROS_SECURITY_KEYSTORE"
OVERRIDE = "ROS_SECURITY_ENCLAVE_OVERRIDE"
# What `ros2 security create_enclave` and `create_permission` leave in an enclave's folder.
FILES = ("identity_ca.cert.pem", "cert.pem", "key.pem", "permissions_ca.cert.pem", "governance.p7s", "permissions.p7s")
_OFF = ("", "false")


def is_asked(environment: Mapping[str, str]) -> bool:
    """Whether the environment asks for security, however it is spelt."""
    return environment.get(ENABLE, "") not in _OFF


def enclave(environment: Mapping[str, str], arguments: Sequence[str]) -> str:
    """The enclave of a process: what overrides it, what its arguments say, else the root."""
    said = [value for flag, value in pairwise(arguments) if flag in ("-e", "--enclave")]
    return environment.get(OVERRIDE) or (said[-1] if said else "/")


def check(environment: Mapping[str, str], arguments: Sequence[str]) -> None:
    """That nothing stands between the security that is asked for and having it; nothing where none is asked for.

    Args:
        environment: of the process.
        arguments: its command line.

    Raises:
        JepaRosError: rcl would start it without, or with less; the message names the variable or file, and the fix.
    """
    if not is_asked(environment):
        return
    if environment[ENABLE] != "true":
        raise JepaRosError(f"{ENABLE} is {environment[ENABLE]!r}: only true turns security on; set it so, or unset it")
    if environment.get(STRATEGY) != "Enforce":
        raise JepaRosError(
            f"{STRATEGY} is {environment.get(STRATEGY, '')!r}: a process without keys would start without security; "
            "set it to Enforce"
        )
    name, keystore = enclave(environment, arguments), environment.get(KEYSTORE, "")
    if not keystore or not Path(keystore).is_dir():
        raise JepaRosError(f"{KEYSTORE} is {keystore!r}: no such folder; `ros2 security create_keystore` makes one")
    folder = Path(keystore) / "enclaves" / name.lstrip("/")
    if missing := [file for file in FILES if not (folder / file).is_file()]:
        raise JepaRosError(
            f"enclave {name}: {folder} lacks {', '.join(missing)}; make it with `ros2 security create_enclave` and "
            "`create_permission`"
        )


def init(arguments: Sequence[str] | None = None, **options: Any) -> None:
    """`rclpy.init`, of a process that is as secure as it was asked to be.

    Args:
        arguments: the command line; None for no arguments of ROS's.
        options: of `rclpy.init`.

    Raises:
        JepaRosError: it would not be secure; see `check`. Or this middleware was built without security.
    """
    given = list(arguments or ())
    check(os.environ, given)
    rclpy.init(args=given, **options)
    if is_asked(os.environ):
        try:
            Node("security_check", start_parameter_services=False, enable_rosout=False).destroy_node()
        except rclpy._rclpy_pybind11.RCLError as error:
            rclpy.try_shutdown()
            raise JepaRosError(
                f"security was asked for and the middleware refused ({' '.join(str(error).split())}); PyPI's wheels "
                "of Fast DDS have no security: use ROS 2 of your distribution"
            ) from error
