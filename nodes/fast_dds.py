"""Fast DDS profiles: how far nodes are heard, and which must not use shared memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from jepa_ros.share import share_folder

RANGE = "ROS_AUTOMATIC_DISCOVERY_RANGE"
PROFILES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")  # Jazzy's name, Kilted's
SHARED_MEMORY, LOOPBACK, LOOPBACK_UDP = "fastdds_shm.xml", "fastdds_loopback.xml", "fastdds_loopback_udp.xml"
TRANSPORTS = "FASTDDS_BUILTIN_TRANSPORTS"
_FAST_DDS = "rmw_fastrtps"


def _is_used(given: Mapping[str, str]) -> bool:
    return given.get("RMW_IMPLEMENTATION", _FAST_DDS).startswith(_FAST_DDS)


def _named(given: Mapping[str, str]) -> set[str]:
    return {Path(given[name]).name for name in PROFILES if given.get(name)}


def local_environment(given: Mapping[str, str]) -> dict[str, str]:
    """Variables that keep nodes on this machine, to be laid over `given`; tools in other terminals find them.

    With Fast DDS no socket is bound to another interface than loopback, by a profile of ours; one of our profiles that
    is named already stays. Under somebody else's profile, or another middleware, it is ROS's own LOCALHOST.

    Args:
        given: the environment that the nodes would have.
    """
    named = _named(given)
    if not _is_used(given) or named - {SHARED_MEMORY, LOOPBACK, LOOPBACK_UDP}:
        return {RANGE: "LOCALHOST"}
    profile = {} if named else dict.fromkeys(PROFILES, str(share_folder() / "config" / LOOPBACK))
    return {**profile, RANGE: "SUBNET"}


def without_shared_memory(given: Mapping[str, str]) -> dict[str, str]:
    """Variables with which a process sends nothing through shared memory, to be laid over `given`.

    Before Fast DDS first writes into the shared memory of another process it may sleep for a third of that process's
    `healthy_check_timeout_ms`, 0.33 s as it comes, with everything else that is sent waiting (2.14, `SharedMemGlobal`,
    `Port::healthy_check`). Whoever starts `ros2 topic echo` on the same machine would so interrupt the joint commands.

    A profile that is somebody else's, or has nothing but shared memory, stays.

    Args:
        given: the environment that the process has.
    """
    if not _is_used(given):
        return {}
    named = _named(given)
    profile = dict.fromkeys(PROFILES, str(share_folder() / "config" / LOOPBACK_UDP))
    if named == {LOOPBACK}:
        return profile
    if named or given.get(TRANSPORTS):
        return {}
    # rmw_fastrtps has transports of its own for LOCALHOST, shared memory among them, and asks nobody.
    return {**profile, RANGE: "SUBNET"} if given.get(RANGE) == "LOCALHOST" else {TRANSPORTS: "UDPv4"}
