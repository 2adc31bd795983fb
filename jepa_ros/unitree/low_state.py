"""LowState: what a Go2 tells of its joints, its inertial unit, its feet and its remote, 500 times a second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jepa_ros.errors import WireError
from jepa_ros.types import Float64, Imu, JointState
from jepa_ros.unitree.crc import crc32_words
from jepa_ros.unitree.motors import SLOTS, foot_slots, slots
from jepa_ros.unitree.wire import Wire

_IMU = np.dtype(
    [
        ("quaternion", "<f4", 4),
        ("gyroscope", "<f4", 3),
        ("accelerometer", "<f4", 3),
        ("rpy", "<f4", 3),
        ("temperature", "i1"),
    ],
    align=True,
)
_MOTOR = np.dtype(
    [
        ("mode", "u1"),
        ("q", "<f4"),
        ("dq", "<f4"),
        ("ddq", "<f4"),
        ("tau_est", "<f4"),
        ("raw", "<f4", 3),
        ("temperature", "i1"),
        ("lost", "<u4"),
        ("reserve", "<u4", 2),
    ],
    align=True,
)
_BATTERY = np.dtype(
    [
        ("version", "u1", 2),
        ("status", "u1"),
        ("soc", "u1"),
        ("current", "<i4"),
        ("cycle", "<u2"),
        ("ntc", "i1", 4),
        ("cell_vol", "<u2", 15),
    ],
    align=True,
)
LOW_STATE = np.dtype(
    [
        ("head", "u1", 2),
        ("level_flag", "u1"),
        ("frame_reserve", "u1"),
        ("sn", "<u4", 2),
        ("version", "<u4", 2),
        ("bandwidth", "<u2"),
        ("imu", _IMU),
        ("motor", _MOTOR, SLOTS),
        ("battery", _BATTERY),
        ("foot_force", "<i2", 4),
        ("foot_force_est", "<i2", 4),
        ("tick", "<u4"),
        ("wireless_remote", "u1", 40),
        ("bit_flag", "u1"),
        ("adc_reel", "<f4"),
        ("temperature_ntc", "i1", 2),
        ("power", "<f4", 2),
        ("fan_frequency", "<u2", 4),
        ("reserve", "<u4"),
        ("crc", "<u4"),
    ],
    align=True,
)
"""The vendor's struct, 1180 bytes. Layout and CRC are held against a LowState of a real Go2 in the tests."""
LOW_STATE_WIRE = Wire(LOW_STATE)


@dataclass(frozen=True)
class LowState:
    """One LowState in the robot's joint order.

    Attributes:
        tick: the robot's own clock, ms.
        joints: measured joints.
        imu: its inertial unit.
        foot_force: `[F]` in the order of the robot's feet. The robot's sensors are not calibrated: near N, with an
            offset of some 10 N.
        temperature: of the motors `[n]`, °C.
        battery: charge, %.
        remote: what the remote sent, 40 bytes.
    """

    tick: int
    joints: JointState
    imu: Imu
    foot_force: Float64
    temperature: Float64
    battery: int
    remote: bytes


class LowStateReader:
    """Reads LowState messages of one robot.

    Args:
        joints: the robot's joint names, in the order of what is returned.
        motors: the same names in the order of the slots.
        feet: the robot's feet; none leaves their forces away.

    Raises:
        RobotError: not the same joints, or a foot without a leg.
    """

    def __init__(self, joints: Sequence[str], motors: Sequence[str], feet: Sequence[str] = ()) -> None:
        self._slots, self._feet = slots(joints, motors), foot_slots(feet, motors)

    def read(self, message: bytes) -> LowState:
        """The state in a message's bytes. Numbers are passed on as they are, not finite ones too.

        Raises:
            WireError: not a LowState, or its CRC is wrong.
        """
        record, data = LOW_STATE_WIRE.decode(message)
        if int(record["crc"]) != (found := crc32_words(data[: LOW_STATE.itemsize - 4])):
            raise WireError(f"lowstate: its CRC is {int(record['crc']):08x}, of its content {found:08x}")
        motor, imu = record["motor"][self._slots], record["imu"]
        w, x, y, z = imu["quaternion"].tolist()
        return LowState(
            tick=int(record["tick"]),
            joints=JointState(*(motor[field].astype(np.float64) for field in ("q", "dq", "tau_est"))),
            imu=Imu(
                imu["gyroscope"].astype(np.float64),
                np.array([x, y, z, w]),
                imu["accelerometer"].astype(np.float64),
            ),
            foot_force=record["foot_force"][self._feet].astype(np.float64),
            temperature=motor["temperature"].astype(np.float64),
            battery=int(record["battery"]["soc"]),
            remote=record["wireless_remote"].tobytes(),
        )


_BACK_MS = 1000  # a state that is further back than this is no late one
_SILENT_S, _IN_A_ROW = 0.5, 50  # what tells a robot that started again from a second one, whose states come between


class TickWatch:
    """What became of the messages between two: lost ones, one that came twice, a robot that started again.

    A clock that is more than a second back is believed after a silence, or when 50 states in a row go on from it: with
    two robots in one domain the states of both come in turn.

    Args:
        period_ms: from one LowState to the next.
    """

    def __init__(self, period_ms: float) -> None:
        self._period, self._last, self._at = period_ms, -1, 0.0
        self._other, self._in_a_row = -1, 0
        self.lost = self.repeated = self.restarts = 0

    def fresh(self, tick: int, now: float) -> bool:
        """Whether a message with this tick is newer than the one before, and counts what it tells.

        Args:
            tick: the robot's clock, ms.
            now: when it came, monotonic s.
        """
        step = (tick - self._last) % 2**32
        if self._last < 0:
            pass
        elif 2**31 < step < 2**32 - _BACK_MS:
            if not self._began_anew(tick, now):
                self.repeated += 1
                return False
            self.restarts += 1
        elif step == 0 or step > 2**31:
            self.repeated += 1
            return False
        else:
            self.lost += max(round(step / self._period) - 1, 0)
        self._last, self._at, self._in_a_row = tick, now, 0
        return True

    def _began_anew(self, tick: int, now: float) -> bool:
        """Whether a clock that is far back is the robot's, and not another's."""
        follows = self._in_a_row > 0 and 0 < (tick - self._other) % 2**32 <= _BACK_MS
        self._other, self._in_a_row = tick, self._in_a_row + 1 if follows else 1
        return now - self._at > _SILENT_S or self._in_a_row >= _IN_A_ROW
