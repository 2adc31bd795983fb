"""The `middleware` block of a robot file: which DDS reaches the robot, and how far what we say may be heard."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from xml.sax.saxutils import quoteattr

from pydantic import Field, field_validator

from jepa_ros.errors import RobotError
from jepa_ros.robots.strict import Strict

CYCLONE, FAST_DDS = "rmw_cyclonedds_cpp", "rmw_fastrtps_cpp"
_RANGES = {"subnet": "SUBNET", "off": "OFF"}
_PROFILES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")  # Jazzy's name, Kilted's


class MiddlewareSpec(Strict):
    """What the processes of a launch have in their environment.

    Attributes:
        rmw: RMW_IMPLEMENTATION; empty leaves the machine's own.
        domain_id: ROS_DOMAIN_ID; None leaves the machine's own.
        interface: the network interface that leads to the robot, `eth0` for instance; empty for all.
        discovery: who may find these nodes: this machine, its subnet, or nobody.
    """

    rmw: str = ""
    domain_id: int | None = Field(default=None, ge=0, le=232)
    interface: str = ""
    discovery: Literal["localhost", "subnet", "off"] = "localhost"

    @field_validator("interface")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        if value and not re.fullmatch(r"[A-Za-z0-9_.:-]{1,15}", value):
            raise ValueError(f"{value!r} is no network interface; `ip link` lists them")
        return value


def environment(spec: MiddlewareSpec, given: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Environment variables that carry the block out, to be laid over `given`.

    How nodes are kept on this machine is the launch's affair (`jepa_ros_nodes.launching`); here it is only not undone.

    Args:
        spec: the robot's block.
        given: the environment that the processes would have.
        folder: where a Fast DDS profile is written when an interface is named.

    Raises:
        RobotError: an interface is named that this RMW cannot be told.
    """
    found: dict[str, str] = {}
    if spec.rmw:
        found["RMW_IMPLEMENTATION"] = spec.rmw
    if spec.domain_id is not None:
        found["ROS_DOMAIN_ID"] = str(spec.domain_id)
    if spec.discovery == "localhost":
        return found
    found["ROS_AUTOMATIC_DISCOVERY_RANGE"] = _RANGES[spec.discovery]
    rmw = spec.rmw or given.get("RMW_IMPLEMENTATION") or FAST_DDS
    if not spec.interface:
        return found
    if rmw == CYCLONE:
        found["CYCLONEDDS_URI"] = (
            "<CycloneDDS><Domain><General><Interfaces>"
            f"<NetworkInterface name={quoteattr(spec.interface)}/>"
            "</Interfaces></General></Domain></CycloneDDS>"
        )
    elif rmw == FAST_DDS:
        written = folder / "fastdds_interface.xml"
        written.write_text(_FAST_DDS_INTERFACE.format(interface=spec.interface))
        found |= dict.fromkeys(_PROFILES, str(written))
    else:
        raise RobotError(
            f"middleware.interface: {rmw} is not told an interface from here; leave the field empty, or use "
            f"{CYCLONE} or {FAST_DDS}"
        )
    return found


_FAST_DDS_INTERFACE = """<?xml version="1.0" encoding="UTF-8"?>
<dds xmlns="http://www.eprosima.com">
  <profiles>
    <transport_descriptors>
      <transport_descriptor>
        <transport_id>robot_udp</transport_id>
        <type>UDPv4</type>
        <interfaceWhiteList><interface>{interface}</interface><interface>lo</interface></interfaceWhiteList>
      </transport_descriptor>
    </transport_descriptors>
    <participant profile_name="robot_interface" is_default_profile="true">
      <rtps>
        <builtin><discovery_config>
          <leaseAnnouncement><sec>0</sec><nanosec>100000000</nanosec></leaseAnnouncement>
        </discovery_config></builtin>
        <useBuiltinTransports>false</useBuiltinTransports>
        <userTransports><transport_id>robot_udp</transport_id></userTransports>
      </rtps>
    </participant>
  </profiles>
</dds>
"""
