"""Two replays of the same bags: what became better, what worse, and whether that is a regression.

Figures of several bags are pooled as a ratio of sums, each bag counting alike. Open-loop error is taken as a share of
what copying the last latent would have cost: with one encoder that is the same ratio, and with two it does not depend
on how large each one's latents are. Where nothing moved and copying costs nothing, it is taken as it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from jepa_ros.types import Float64
from jepa_ros_replay.bags import BagError
from jepa_ros_replay.summaries import Summary, match, parse

THRESHOLD = 0.1
_RESAMPLES = 2000
_NOTHING = 1e-12
_OPEN_LOOP = "open-loop error"


@dataclass(frozen=True)
class Figure:
    """One figure, old and new, over the bags that have it on both sides.

    Attributes:
        name, old, new: the pooled values.
        ratio: new by old; None where the old one is zero.
        verdict: better, worse, or same, which is within the threshold. Less is better for every figure.
        quality: whether getting worse is a regression.
        bags: over how many bags.
        sign_p: two-sided sign test over the bags; None for a single bag.
        interval: of the ratio, 95 %, bootstrapped over the bags; None for a single bag.
    """

    name: str
    old: float
    new: float
    ratio: float | None
    verdict: str
    quality: bool
    bags: int
    sign_p: float | None
    interval: tuple[float, float] | None

    def sentence(self) -> str:
        """Name, change and how sure it is."""
        change = f"{self.old:.4g} → {self.new:.4g}" + ("" if self.ratio is None else f", × {self.ratio:.2f}")
        sure = "" if self.interval is None else ", 95 % interval × {:.2f}–{:.2f}".format(*self.interval)
        return f"{self.name} {change}{sure}" + ("" if self.sign_p is None else f", sign test p = {self.sign_p:.2g}")


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Attributes:
        bags: those on both sides; only_old, only_new: those on one.
        same_plans: on how many bags the two planned alike bit for bit.
        figures: every figure that both sides have.
        missing: names of figures that only one side has.
        new_events: (bag, reason, count) of safety events of a kind that the bag did not have before.
        regression, verdict: whether it is one, and why, in a sentence.
    """

    threshold: float
    bags: tuple[str, ...]
    only_old: tuple[str, ...]
    only_new: tuple[str, ...]
    same_plans: int
    figures: tuple[Figure, ...]
    missing: tuple[str, ...]
    new_events: tuple[tuple[str, str, int], ...]
    regression: bool
    verdict: str

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


# A bag's value and what it is a share of; None where the bag has no such figure.
_Value = tuple[float, float]
_OneOrMany = Mapping[str, Any] | Sequence[Mapping[str, Any]]


def compare(a: _OneOrMany, b: _OneOrMany, threshold: float = THRESHOLD) -> Comparison:
    """Compare an old replay `a` with a new one `b`.

    Args:
        a, b: a summary, or the summaries of many bags; bags are matched by their file names.
        threshold: relative change from which on a figure is better or worse.

    Raises:
        BagError: something is no summary, or the two have no bag in common.
    """
    if not (math.isfinite(threshold) and threshold >= 0):
        raise BagError(f"threshold {threshold}: must be a number from 0 on, as 0.1 for a tenth")
    old, new = (
        [parse(summary, f"the {name} summary") for summary in ([side] if isinstance(side, Mapping) else side)]
        for name, side in (("old", a), ("new", b))
    )
    if not old or not new:
        raise BagError("there is nothing to compare: one side holds no summary")
    matched = match(old, new)
    pairs = {name: (x, y) for name, (x, y) in matched.items() if x is not None and y is not None}
    figures, missing = _figures(list(pairs.values()), threshold)
    events = tuple(
        (name, reason, count)
        for name, (x, y) in pairs.items()
        for reason, count in y.safety_events.items()
        if count and not x.safety_events.get(reason)
    )
    worse = [figure for figure in figures if figure.quality and figure.verdict == "worse"]
    only_old = tuple(name for name, (_, y) in matched.items() if y is None)
    only_new = tuple(name for name, (x, _) in matched.items() if x is None)
    return Comparison(
        threshold=threshold,
        bags=tuple(pairs),
        only_old=only_old,
        only_new=only_new,
        same_plans=sum(x.plans > 0 and x.plan_sha256 == y.plan_sha256 != "" for x, y in pairs.values()),
        figures=figures,
        missing=missing,
        new_events=events,
        regression=bool(worse or events),
        verdict=_verdict(worse, events, figures, len(pairs), threshold) + _beside(missing, only_old, only_new),
    )


def _figures(pairs: list[tuple[Summary, Summary]], threshold: float) -> tuple[tuple[Figure, ...], tuple[str, ...]]:
    """The figures that both sides have, and the names of those that one has."""
    found: dict[str, list[tuple[_Value, _Value]]] = {}
    there: tuple[dict[str, None], dict[str, None]] = ({}, {})  # ordered sets
    for pair in pairs:
        old, new = ({name: value for name, value in _values(side) if value is not None} for side in pair)
        there[0].update(dict.fromkeys(old))
        there[1].update(dict.fromkeys(new))
        for name in old:
            if name in new:
                found.setdefault(name, []).append((old[name], new[name]))
    return (
        tuple(_figure(name, rows, threshold) for name, rows in found.items()),
        tuple(sorted(there[0].keys() ^ there[1].keys())),
    )


def _values(summary: Summary) -> Iterator[tuple[str, _Value | None]]:
    """Every figure of one bag."""
    for name, value in (("p50", summary.surprise.p50), ("p99", summary.surprise.p99)):
        yield f"surprise {name}", None if value is None else (value, 1.0)
    for row in sorted(summary.open_loop, key=lambda row: row.steps):
        known = row.model is not None and row.copy_last is not None
        name = f"{_OPEN_LOOP} at {row.steps} step{'' if row.steps == 1 else 's'}"
        yield name, (float(row.model or 0), float(row.copy_last or 0)) if known else None
    for stage, found in summary.stage_ms.items():
        for name, value in (("p50", found.p50), ("p99", found.p99)):
            yield f"{stage} {name}, ms", None if value is None else (value, 1.0)
    yield "safety events", (float(sum(summary.safety_events.values())), 1.0)
    yield "late frames", (float(summary.frames_late), 1.0)
    yield "refused frames", (float(sum(summary.frames_refused.values())), 1.0)


def _figure(name: str, rows: list[tuple[_Value, _Value]], threshold: float) -> Figure:
    values = np.array(rows, dtype=np.float64)  # [bags, old or new, value or whole]
    if (values[..., 1].sum(axis=0) <= _NOTHING).any():
        values[..., 1] = 1.0
    old, new = values[..., 0].sum(axis=0) / values[..., 1].sum(axis=0)
    ratio = float(new / old) if old > _NOTHING else None
    if ratio is None:
        verdict = "worse" if new > _NOTHING else "same"
    elif ratio > 1 + threshold:
        verdict = "worse"
    else:
        verdict = "better" if ratio < 1 / (1 + threshold) else "same"
    several = len(rows) > 1
    still = (values[..., 1] <= _NOTHING).any(axis=1, keepdims=True)
    each = values[..., 0] / np.where(still, 1.0, values[..., 1])
    return Figure(
        name=name,
        old=float(old),
        new=float(new),
        ratio=ratio,
        verdict=verdict,
        quality=name == "surprise p50" or name.startswith(_OPEN_LOOP),
        bags=len(rows),
        sign_p=sign_test(each[:, 1] - each[:, 0]) if several else None,
        interval=_interval(values) if several else None,
    )


def sign_test(differences: Float64) -> float:
    """Two-sided exact p that as many of the differences are above zero as below; ties do not count."""
    above, below = int((differences > 0).sum()), int((differences < 0).sum())
    tail = sum(math.comb(above + below, k) for k in range(min(above, below) + 1))
    return min(1.0, 2 * tail / (1 << (above + below)))


def _interval(values: Float64) -> tuple[float, float] | None:
    """95 % interval of the pooled ratio, by drawing bags with replacement; None where the old side is zero."""
    drawn = np.random.default_rng(0).integers(0, len(values), (_RESAMPLES, len(values)))
    sums = values[drawn].sum(axis=1)  # [resamples, old or new, value or whole]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = (sums[:, 1, 0] / sums[:, 1, 1]) / (sums[:, 0, 0] / sums[:, 0, 1])
    ratios = ratios[np.isfinite(ratios)]
    if not len(ratios):
        return None
    low, high = np.percentile(ratios, [2.5, 97.5])
    return float(low), float(high)


def _verdict(
    worse: list[Figure],
    events: tuple[tuple[str, str, int], ...],
    figures: tuple[Figure, ...],
    bags: int,
    threshold: float,
) -> str:
    """The sentence."""
    over = f"{bags} bag{'' if bags == 1 else 's'}, threshold {threshold:.0%}"
    if worse or events:
        reasons = [figure.sentence() for figure in worse]
        reasons += [f"new safety event {reason} × {count} in {name}" for name, reason, count in events]
        return f"Regression ({over}): {'; '.join(reasons)}."
    judged = [figure for figure in figures if figure.quality and figure.ratio is not None]
    if not judged:
        return f"No quality figure (surprise, open-loop error) stands on both sides ({over}): nothing can be said."
    most = max(judged, key=lambda figure: figure.ratio or 0.0)
    return f"No regression ({over}): of the quality figures, the least good is {most.sentence()}."


def _beside(missing: tuple[str, ...], only_old: tuple[str, ...], only_new: tuple[str, ...]) -> str:
    """What was not compared."""
    parts = [("only in the old", only_old), ("only in the new", only_new), ("figures of one side only", missing)]
    return "".join(f" Not compared, {what}: {', '.join(names)}." for what, names in parts if names)
