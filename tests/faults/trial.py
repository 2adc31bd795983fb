"""One run of one fault: walk, inject, watch, clear, judge, recover."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field

from . import judge
from .bench import AFTERMATH_S, Bench
from .fault import Fault
from .judge import CommandJudge, Outcome, Unsafe


@dataclass(frozen=True)
class Trial:
    """How a run went. Times in s; None where there is nothing to measure.

    Attributes:
        outcome: what became of the walk.
        reasons: as which the fault was detected.
        detectable_after: from the fault to when it could be told.
        to_safe: from then to the safe command on the wire; 0 if that was sooner.
        to_still: from then to the body standing still.
        fell: whether the body went past 1 rad.
        unsafe: commands that should not have been sent.
        recovered: whether the dog stood again after the operator's reset, or walks on.
        to_stand: how long that took.
        interfered: whether the dog walked on though it was damped for a moment.
        retries: attempts to bring the dog to a walk that failed before.
        stall: the longest time for which the machine itself stood still.
    """

    outcome: Outcome
    reasons: list[str]
    detectable_after: float
    to_safe: float | None
    to_still: float | None
    fell: bool
    unsafe: list[Unsafe]
    recovered: bool
    to_stand: float = 0.0
    interfered: bool = False
    retries: int = 0
    stall: float = 0.0

    def detected(self, fault: Fault) -> bool:
        """Whether it was detected as one of what the fault may be detected as."""
        return not fault.reasons or any(r.startswith(e) for r in self.reasons for e in fault.reasons)

    def false_stop(self, fault: Fault) -> bool:
        """Whether the walk ended, or was damped for a moment, though it should have gone on."""
        return fault.expected == {Outcome.WALK} and (self.interfered or self.outcome is not Outcome.WALK)

    def complaints(self, fault: Fault) -> list[str]:
        """Every expectation that was not met, but for times."""
        expected = " or ".join(sorted(o.value for o in fault.expected))
        said = {
            f"ended in {self.outcome.value}, not {expected}": self.outcome not in fault.expected,
            f"detected as {', '.join(self.reasons) or 'nothing'}": not self.detected(fault),
            "was damped for a moment in mid-gait": self.interfered and Outcome.DAMP not in fault.expected,
            "fell": self.fell and not fault.fall_permitted,
            f"{len(self.unsafe)} unsafe: {self.unsafe[0].why if self.unsafe else ''}": bool(self.unsafe),
            "did not stand again": not self.recovered,
        }
        return [sentence for sentence, holds in said.items() if holds]


def run(bench: Bench, fault: Fault, number: int) -> Trial:
    """Run a fault once, on a bench that has its set-up; the dog stands or walks on afterwards, or `recovered` is false.

    Raises:
        ProcessError: the dog could not be brought to a walk.
    """
    disarm = fault.arm(bench)
    try:
        retries = bench.walk(random.Random(f"{fault.name} {number}"))
        bench.notes.clear()
        bench.stalls.take()
        injected = time.time()
        clear = fault.inject(bench)
        try:
            bench.watch(injected, fault.watch_s, fault.expected == {Outcome.WALK})
        finally:
            clear()
    finally:
        disarm()
    time.sleep(AFTERMATH_S)  # what has ended must not set the dog moving again
    recording = bench.listener.recording(injected)
    stall = bench.stalls.take()
    safety, reset = judge.made_safe(recording), time.monotonic()
    # One that walks on needs no reset: the next run begins with another goal.
    recovered = (safety.outcome is Outcome.WALK and bench.walks_on()) or bench.stand()
    to_stand = time.monotonic() - reset
    bench.listener.forget()
    detectable, still = fault.detectable(recording), judge.still_at(recording)
    return Trial(
        safety.outcome,
        [*judge.reasons(recording), *bench.notes],
        detectable - injected,
        None if safety.at is None else max(safety.at - detectable, 0.0),
        None if still is None or safety.outcome is Outcome.WALK else max(still - detectable, 0.0),
        judge.fell(recording),
        CommandJudge(bench.robot).commands(recording),
        recovered,
        to_stand,
        safety.interfered,
        retries,
        stall,
    )


@dataclass
class Trials:
    """All runs of one fault.

    Attributes:
        skipped: why there are none.
        broken: what kept runs from being judged.
    """

    fault: Fault
    runs: list[Trial] = field(default_factory=list)
    skipped: str = ""
    broken: list[str] = field(default_factory=list)

    def complaints(self) -> list[str]:
        """Every expectation that a run did not meet, but for times."""
        found = [f"run {i + 1}: {c}" for i, trial in enumerate(self.runs) for c in trial.complaints(self.fault)]
        return found + self.broken
