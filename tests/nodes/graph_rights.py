"""What nodes do on the ROS graph, and what an SROS 2 policy allows them, in the same words."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

from rclpy.node import Node

Rights = set[tuple[str, str]]
"""Pairs of a verb of the policy (publish, subscribe, reply, request, execute, call) and a whole name."""

_INCLUDE = "{http://www.w3.org/2001/XInclude}include"
_ACTION = "/_action/"
_WITH_THE_KEYS_OF = {"robot_state_publisher": "robot_description"}  # one of the two runs, for the same


def allowed(policy: Path, namespace: str = "/") -> dict[str, Rights]:
    """What a policy allows, by node; its profiles moved to another namespace.

    Raises:
        ValueError: a rule says something else than ALLOW, or stands in the wrong namespace.
    """
    found: dict[str, Rights] = {}
    for enclave in ET.parse(policy).getroot().iterfind("enclaves/enclave"):
        for profile in enclave.iterfind("profiles/profile"):
            node = profile.attrib["node"]
            keys = _WITH_THE_KEYS_OF.get(node, node)
            if profile.attrib["ns"] != "/" or enclave.attrib["path"] != f"/jepa_ros/{keys}":
                raise ValueError(f"{node}: must have an enclave of its own, /jepa_ros/{node}, and ns /")
            found[node] = _rights(profile, policy.parent, namespace, node)
    return found


def _rights(profile: ET.Element, folder: Path, namespace: str, node: str) -> Rights:
    rights: Rights = set()
    for rule in profile:
        if rule.tag == _INCLUDE:
            file = folder / rule.attrib["href"]
            rights |= _rights(ET.parse(file).getroot(), file.parent, namespace, node)
            continue
        for verb, word in rule.attrib.items():
            if word != "ALLOW":
                raise ValueError(f"{node}: {verb} is {word}; a policy that allows what is needed denies the rest")
            rights |= {(verb, _whole(str(name.text), namespace, node)) for name in rule}
    return rights


def _whole(name: str, namespace: str, node: str) -> str:
    space = namespace.rstrip("/")
    if name.startswith("/"):
        return name
    return f"{space}/{node}{name[1:]}" if name.startswith("~") else f"{space}/{name}"


def used(probe: Node, node: str, namespace: str = "/") -> Rights:
    """What a node that runs has made, as the graph tells."""
    rights: Rights = set()
    for verb, look in (
        ("publish", probe.get_publisher_names_and_types_by_node),
        ("subscribe", probe.get_subscriber_names_and_types_by_node),
        ("reply", probe.get_service_names_and_types_by_node),
        ("request", probe.get_client_names_and_types_by_node),
    ):
        rights |= {(verb, name) for name, _ in look(node, namespace)}
    return {_of_action(verb, name) for verb, name in rights}


def _of_action(verb: str, name: str) -> tuple[str, str]:
    """An action's services and topics, which are hidden, as the one thing that a policy calls it."""
    action, hidden, _ = name.partition(_ACTION)
    if not hidden:
        return verb, name
    return ("execute" if verb in ("publish", "reply") else "call"), action
