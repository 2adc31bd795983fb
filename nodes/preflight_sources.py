"""The check list's lines about who publishes, and whether messages say when they were made."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from jepa_ros_nodes.preflight_checks import Check, Heard

_BARE = "_CREATED_BY_BARE_DDS_APP_"  # what rmw calls a writer that belongs to no node


def sources(
    publishers: Mapping[str, int], commanders: Sequence[tuple[str, str]], drivers: Collection[str] = ()
) -> Check:
    """One driver a topic, and nobody who commands the robot already.

    Args:
        publishers: how many each topic that is listened to has.
        commanders: node and topic of who publishes commands.
        drivers: nodes of the robot's file, which ask it for things by the topic that may carry commands too.
    """
    twice = [f"{topic} has {count} publishers" for topic, count in publishers.items() if count > 1]
    bare = [topic for node, topic in commanders if node == _BARE and topic != "joint_commands"]
    others = [
        f"{node} on {topic}"
        for node, topic in commanders
        if not (topic != "joint_commands" and node in {_BARE, *drivers})
    ]
    if twice or others:
        told = [*twice, *([f"{', '.join(others)} already commands the robot"] if others else [])]
        return Check("sources", False, f"{'; '.join(told)}: end the others, or use another ROS_DOMAIN_ID")
    if bare:
        where = ", ".join(f"{bare.count(topic)} on {topic}" for topic in dict.fromkeys(bare))
        return Check(
            "sources",
            True,
            f"warning: writers without a node, {where}: the robot's firmware, or a program of its SDK, which cannot be "
            "told apart: end those that you know of",
        )
    return Check("sources", True, "one driver a topic, nobody else commands")


def stamps(heard: Heard) -> Check:
    """Messages say when they were made; what does not is never too old."""
    streams = (heard.images, heard.joints, heard.inertial)
    without = [stream.topic for stream in streams if stream.came and not stream.ages]
    if without:
        return Check(
            "stamps",
            True,
            f"warning: {', '.join(without)}: header.stamp is empty: an old message cannot be told from a new one; have "
            "the driver stamp them",
        )
    return Check("stamps", True, "on every topic")
