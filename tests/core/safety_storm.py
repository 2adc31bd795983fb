"""Random and adversarial inputs through the safety filter, and a count of what came out wrong.

    python -m tests.core.safety_storm --inputs 1000000

An input is one call of one of the filter's methods. Most are what a robot could give at its worst, since nonsense damps
at once and a damped filter is soon tested; the rest is nonsense of every kind: not-a-numbers, infinities, denormal and
huge values, wrong shapes and types, times that stand, run back or leap. Both kinds of motion, every state and method.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections import Counter

import numpy as np
from rich.console import Console
from rich.progress import Progress

from .safety_inputs import Result, Storm

EPISODE = 2000


def storm(inputs: int, seed: int, told: object = None) -> Result:
    """About so many inputs; whatever NumPy would only warn of is an exception."""
    result, episode = Result(), 0
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        while result.inputs < inputs:
            before = result.inputs
            Storm(np.random.default_rng([seed, episode]), result).run(min(EPISODE, inputs - result.inputs))
            episode += 1
            if told is not None:
                told.put(result.inputs - before)
    return result


def _process(inputs: int, seed: int, told: object, results: object) -> None:
    results.put(storm(inputs, seed, told))
    told.put(None)


def main(inputs: int, seed: int, processes: int) -> int:
    """Run it in some processes; returns how many outputs were wrong."""
    context = multiprocessing.get_context("spawn")
    told, results, total = context.Queue(), context.Queue(), Result()
    share = -(-inputs // processes)
    workers = [context.Process(target=_process, args=(share, seed + i, told, results)) for i in range(processes)]
    for worker in workers:
        worker.start()
    with Progress() as progress:
        bar, left = progress.add_task("inputs", total=share * processes), processes
        while left:
            if (done := told.get()) is None:
                left -= 1
            else:
                progress.update(bar, advance=done)
    for _ in workers:
        total.add(results.get())
    say = Console(soft_wrap=True, markup=False, highlight=False).print
    say(f"inputs {total.inputs}: {dict(total.calls.most_common())}")
    say(f"commands judged {total.commands.total()}, by state: {dict(total.commands.most_common())}")
    say(f"events by reason: {dict(total.reasons.most_common())}")
    wrong = {"outside limits": total.outside, "not finite": total.not_finite, "exceptions": total.exceptions}
    for name, found in wrong.items():
        say(f"{name}: {len(found)}")
        for sentence, count in Counter(found).most_common(5):
            say(f"  {count} × {sentence}")
    return sum(map(len, wrong.values()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    sys.exit(main(options.inputs, options.seed, options.processes) > 0)
