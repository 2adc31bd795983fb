"""What a relay can do to the messages that pass it: a name, and a function message → messages to be passed on.

Every alteration is made anew when it is switched on, so that it may remember.
"""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Callable
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time

Alteration = Callable[[Any], list[Any]]


def shifted(stamp: Time, by_s: float) -> Time:
    """A stamp moved by so many seconds, not below zero."""
    total = max(stamp.sec * 1_000_000_000 + stamp.nanosec + round(by_s * 1e9), 0)
    return Time(sec=total // 1_000_000_000, nanosec=total % 1_000_000_000)


def lose() -> Alteration:
    """Nothing passes."""
    return lambda _: []


def lose_half() -> Alteration:
    """Each message is lost with probability one half."""
    chance = random.Random(0)
    return lambda message: [message] if chance.random() < 0.5 else []


def repeat() -> Alteration:
    """The first message, stamp and all, in place of every other."""
    kept: list[Any] = []

    def alter(message: Any) -> list[Any]:
        kept.append(message) if not kept else None
        return [kept[0]]

    return alter


def swap() -> Alteration:
    """Pairs in the wrong order: the older one comes after the newer."""
    held: list[Any] = []

    def alter(message: Any) -> list[Any]:
        if held:
            return [message, held.pop()]
        held.append(message)
        return []

    return alter


def stamp(by_s: float) -> Callable[[], Alteration]:
    """The header's stamp moved."""

    def alter(message: Any) -> list[Any]:
        message.header.stamp = shifted(message.header.stamp, by_s)
        return [message]

    return lambda: alter


def clock(by_s: float) -> Callable[[], Alteration]:
    """A `/clock` moved."""

    def alter(message: Any) -> list[Any]:
        message.clock = shifted(message.clock, by_s)
        return [message]

    return lambda: alter


# Camera images, rgb8.


def same_picture() -> Alteration:
    """The first picture under every later stamp."""
    first: list[Any] = []

    def alter(message: Any) -> list[Any]:
        first.append(message.data) if not first else None
        message.data = first[0]
        return [message]

    return alter


def picture(fill: Callable[[int], bytes]) -> Callable[[], Alteration]:
    """Another picture of the same size: `fill` gives its bytes."""

    def alter(message: Any) -> list[Any]:
        message.data = array("B", fill(len(message.data)))  # of other kinds every byte is looked at: 0.1 s
        return [message]

    return lambda: alter


def _noise(size: int) -> bytes:
    return np.random.default_rng().integers(0, 256, size, np.uint8).tobytes()


def half_size() -> Alteration:
    """A picture of half the height that camera_info announces."""

    def alter(message: Any) -> list[Any]:
        message.height //= 2
        message.data = message.data[: message.height * message.step]
        return [message]

    return alter


def depth() -> Alteration:
    """An encoding that is no colour picture."""

    def alter(message: Any) -> list[Any]:
        message.encoding = "16UC1"
        return [message]

    return alter


# Joint states and the inertial unit.


def shuffle() -> Alteration:
    """The same joints in another order, names with them: nothing may change."""
    order: list[int] = []

    def alter(message: Any) -> list[Any]:
        if not order:
            order.extend(random.Random(1).sample(range(len(message.name)), len(message.name)))
        for field in ("name", "position", "velocity", "effort"):
            values = getattr(message, field)
            setattr(message, field, [values[i] for i in order])
        return [message]

    return alter


def one_joint_missing() -> Alteration:
    """The last joint is not there."""

    def alter(message: Any) -> list[Any]:
        for field in ("name", "position", "velocity", "effort"):
            setattr(message, field, list(getattr(message, field))[:-1])
        return [message]

    return alter


def one_joint_nan() -> Alteration:
    """The third joint's position is not a number."""

    def alter(message: Any) -> list[Any]:
        message.position[2] = math.nan
        return [message]

    return alter


def gyro_nan() -> Alteration:
    """The turn rate about x is not a number."""

    def alter(message: Any) -> list[Any]:
        message.angular_velocity.x = math.nan
        return [message]

    return alter


def tilted(by_rad: float) -> Callable[[], Alteration]:
    """The orientation says that the body lies on its side."""

    def alter(message: Any) -> list[Any]:
        q = message.orientation
        q.x, q.y, q.z, q.w = math.sin(by_rad / 2), 0.0, 0.0, math.cos(by_rad / 2)
        return [message]

    return lambda: alter


# Plans.


def plan_shifted(by_s: float) -> Callable[[], Alteration]:
    """Every time of the plan moved: when it takes effect, what it saw, when it ends."""

    def alter(message: Any) -> list[Any]:
        for holder, field in ((message.header, "stamp"), (message, "observed"), (message, "valid_until")):
            setattr(holder, field, shifted(getattr(holder, field), by_s))
        return [message]

    return lambda: alter


def plan_values(value: float) -> Callable[[], Alteration]:
    """Every value of the plan is this one."""

    def alter(message: Any) -> list[Any]:
        message.values = [value] * len(message.values)
        return [message]

    return lambda: alter


ALTERATIONS: dict[str, Callable[[], Alteration]] = {
    "lose": lose,
    "lose_half": lose_half,
    "repeat": repeat,
    "swap": swap,
    "stamp_-5": stamp(-5.0),
    "stamp_+5": stamp(5.0),
    "stamp_-2": stamp(-2.0),
    "clock_-5": clock(-5.0),
    "clock_+5": clock(5.0),
    "same_picture": same_picture,
    "black": picture(bytes),
    "white": picture(lambda size: b"\xff" * size),
    "noise": picture(_noise),
    "half_size": half_size,
    "depth": depth,
    "shuffle": shuffle,
    "one_joint_missing": one_joint_missing,
    "one_joint_nan": one_joint_nan,
    "gyro_nan": gyro_nan,
    "tilted": tilted(0.8),
    "plan_-5": plan_shifted(-5.0),
    "plan_+5": plan_shifted(5.0),
    "plan_nan": plan_values(math.nan),
    "plan_huge": plan_values(1e9),
}


def altered(name: str) -> Alteration:
    """A fresh alteration of that name; it may change what it is given in place.

    Raises:
        KeyError: there is none.
    """
    return ALTERATIONS[name]()
