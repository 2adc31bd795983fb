"""Every fault, those that share a set-up in a row: nodes are started anew between set-ups only."""

from __future__ import annotations

from . import machine_faults, plan_faults, process_faults, stream_faults
from .bench import Setup
from .fault import Fault


def _key(fault: Fault) -> tuple[bool, bool, str]:
    setup: Setup = fault.setup
    return setup.sim_time, setup.deadman, "" if setup.bundle == "default" else setup.bundle


CATALOGUE: list[Fault] = sorted(
    [*process_faults.FAULTS, *stream_faults.FAULTS, *plan_faults.FAULTS, *machine_faults.FAULTS], key=_key
)


def chosen(names: list[str]) -> list[Fault]:
    """The faults of these names, in the catalogue's order; all if none is named.

    Raises:
        KeyError: there is none of such a name.
    """
    known = {fault.name for fault in CATALOGUE}
    if unknown := [name for name in names if name not in known]:
        raise KeyError(f"no fault is named {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    return [fault for fault in CATALOGUE if not names or fault.name in names]
