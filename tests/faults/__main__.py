"""Entry point of `python -m tests.faults`."""

from .run import main

main()
