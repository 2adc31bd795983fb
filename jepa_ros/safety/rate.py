"""Joint targets at a limited speed, acceleration and step."""

from __future__ import annotations

import numpy as np

from jepa_ros.robots.limits import Rate
from jepa_ros.types import Float64

_LONGEST_TICK_S = 0.1
_ENDLESS = 1e9


class RateLimiter:
    """Follows targets at a limited speed and acceleration, and always able to stop inside the range.

    A target that moves within the limits (a cubic, say) is followed to the bit. One that does not is approached at the
    largest speed v from which constant braking still ends at it: v t + v² / 2a ≤ the way left, for a tick of t s. A
    later tick of another length can brake from there too, so no jitter of the loop makes it overshoot.

    For direct joint motion and stances only: on a gait, slowing a leg in swing makes a robot fall.

    Args:
        rate: rad/s, rad/s² and rad a tick.
        position: `[n]` rad, where to start, at rest.
        lower, upper: `[n]` rad; targets are within.

    Attributes:
        position, speed: `[n]` rad and rad/s, as last given. Buffers.
        acted: whether the last target was out of reach.
    """

    def __init__(
        self, rate: Rate, position: Float64, lower: Float64 | None = None, upper: Float64 | None = None
    ) -> None:
        self._speed, self._step = min(rate.speed, _ENDLESS), rate.step
        self._acceleration = min(rate.acceleration, _ENDLESS)
        self._braking = min(rate.braking, self._acceleration)
        self._lower = np.full_like(position, -np.inf) if lower is None else lower
        self._upper = np.full_like(position, np.inf) if upper is None else upper
        self.position, self.speed = position.copy(), np.zeros_like(position)
        self.acted = False
        self._last = position.copy()
        self._away, self._wanted, self._exact, self._work = (np.empty_like(position) for _ in range(4))
        self._reached, self._fits = np.empty(position.shape, bool), np.empty(position.shape, bool)

    def rest_at(self, position: Float64) -> None:
        """Start anew, from rest."""
        np.copyto(self.position, position)
        np.copyto(self._last, position)
        self.speed.fill(0.0)

    def stopping_point(self, out: Float64) -> Float64:
        """Where it comes to rest when it brakes now, `[n]` rad, within the range."""
        np.abs(self.speed, out=out)
        out *= self.speed
        out *= 0.5 / self._braking
        out += self.position
        np.maximum(out, self._lower, out=out)
        return np.minimum(out, self._upper, out=out)

    def follow(self, targets: Float64, dt: float) -> Float64:
        """Targets `[n]` rad, `dt` s after the last → `position`: targets that can be reached by now."""
        if not dt > 0:
            return self.position
        tick = min(dt, _LONGEST_TICK_S)
        change, brake = self._acceleration * tick, self._braking * tick
        away, wanted, exact = self._away, self._wanted, self._exact
        np.subtract(targets, self.position, out=away)
        np.divide(away, tick, out=exact)
        self._judge(targets, tick, change)
        np.abs(away, out=wanted)
        wanted *= 2 * self._braking
        wanted += brake * brake
        np.sqrt(wanted, out=wanted)
        wanted -= brake
        np.minimum(wanted, self._speed, out=wanted)
        np.copysign(wanted, away, out=wanted)
        # Whatever moved the joints before may have been faster than this motion is allowed to: then it brakes.
        self._between(wanted, change)
        np.maximum(wanted, -self._step / tick, out=wanted)
        np.minimum(wanted, self._step / tick, out=wanted)
        np.copyto(wanted, exact, where=self._reached)
        self.acted = not self._reached.all()
        np.copyto(self._last, targets)
        np.multiply(wanted, tick, out=away)
        self.position += away
        np.copyto(self.position, targets, where=self._reached)
        np.maximum(self.position, self._lower, out=self.position)
        np.minimum(self.position, self._upper, out=self.position)
        np.multiply(wanted, tick / dt, out=self.speed)
        return self.position

    def _between(self, wanted: Float64, change: float) -> None:
        """Hold a speed to what can be reached from the present one."""
        np.subtract(self.speed, change, out=self._work)
        np.maximum(wanted, self._work, out=wanted)
        np.add(self.speed, change, out=self._work)
        np.minimum(wanted, self._work, out=wanted)

    def _judge(self, targets: Float64, tick: float, change: float) -> None:
        """Which joints can be at their targets now, at the targets' own speed, and still stop inside the range."""
        exact, work, fits, reached = self._exact, self._work, self._fits, self._reached
        np.abs(exact, out=work)
        np.less_equal(work, min(self._speed, self._step / tick), out=reached)
        np.subtract(exact, self.speed, out=work)
        np.abs(work, out=work)
        reached &= np.less_equal(work, change, out=fits)
        np.subtract(self._last, targets, out=work)
        work /= tick
        work += exact
        np.abs(work, out=work)
        reached &= np.less_equal(work, change, out=fits)
        np.abs(exact, out=work)
        work *= exact
        work *= 0.5 / self._braking
        work += targets
        reached &= np.less_equal(work, self._upper, out=fits)
        reached &= np.greater_equal(work, self._lower, out=fits)
