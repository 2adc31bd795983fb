"""The Go2's remote, out of LowState's 40 bytes, and what its buttons ask of us.

With the sport mode released the robot's own firmware no longer stops it when the remote says so: we have to.

| buttons | meaning |
|---|---|
| R1 held | the deadman: whoever holds the remote agrees |
| B | stop: the walk ends, permission to walk is withdrawn |
| L2 + B | damp: motors soft, the dog sinks; latched, as in Unitree's own remote |
| L1 + A | stand up |
| L1 + X | walk is permitted |
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from enum import IntFlag
from typing import ClassVar

from jepa_ros.errors import WireError

_LAYOUT = struct.Struct("<2xHfffff16x")  # buttons, lx, rx, ry, L2, ly (unitree_ros2, `gamepad.hpp`)


class Button(IntFlag):
    """Bits of the buttons, in Unitree's order."""

    R1 = 1 << 0
    L1 = 1 << 1
    START = 1 << 2
    SELECT = 1 << 3
    R2 = 1 << 4
    L2 = 1 << 5
    F1 = 1 << 6
    F2 = 1 << 7
    A = 1 << 8
    B = 1 << 9
    X = 1 << 10
    Y = 1 << 11
    UP = 1 << 12
    RIGHT = 1 << 13
    DOWN = 1 << 14
    LEFT = 1 << 15


@dataclass(frozen=True)
class Remote:
    """Buttons that are down, and the sticks from −1 to 1 (right and up are positive)."""

    buttons: Button
    lx: float
    ly: float
    rx: float
    ry: float


def _stick(value: float) -> float:
    """A stick that is not a number is at rest."""
    return 0.0 if math.isnan(value) else min(max(value, -1.0), 1.0)


def read_remote(data: bytes) -> Remote:
    """The remote in LowState's `wireless_remote`; zeros, nothing pressed, while none is connected.

    Raises:
        WireError: not 40 bytes.
    """
    if len(data) != _LAYOUT.size:
        raise WireError(f"wireless_remote: {len(data)} bytes instead of {_LAYOUT.size}")
    buttons, lx, rx, ry, _, ly = _LAYOUT.unpack(data)
    return Remote(Button(buttons), _stick(lx), _stick(ly), _stick(rx), _stick(ry))


def write_remote(remote: Remote) -> bytes:
    """The 40 bytes of a remote, for whoever stands in for a robot."""
    return _LAYOUT.pack(remote.buttons, remote.lx, remote.rx, remote.ry, 0.0, remote.ly)


class Operator:
    """Turns the remote's state into an operator's will.

    A request is made once, at the press; a stop holds for as long as its button does.

    Attributes:
        stop: whether a stop is asked for.
        deadman: whether the deadman is held.
    """

    REQUESTS: ClassVar = {
        "damp": Button.L2 | Button.B,
        "stand": Button.L1 | Button.A,
        "walk": Button.L1 | Button.X,
    }

    def __init__(self) -> None:
        self._down = frozenset[str]()
        self.stop = self.deadman = False

    def update(self, remote: Remote | None) -> list[str]:
        """Take the remote's newest state, None while the robot is silent; returns what is asked for now.

        Silence lets the deadman go and asks for nothing: a button that is held through it is not pressed anew after.
        """
        if remote is None:
            self.stop = self.deadman = False
            return []
        held = remote.buttons
        down = frozenset(name for name, keys in self.REQUESTS.items() if held & keys == keys)
        self.stop, self.deadman = bool(held & Button.B), bool(held & Button.R1)
        # A stop wins over whatever is pressed with it.
        asked = [name for name in down - self._down if name == "damp" or not self.stop]
        self._down = down
        return asked
