"""Faults injected into real processes and topics while the simulated dog walks: `python -m tests.faults --runs 10`."""
