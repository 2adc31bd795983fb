"""`jepa-bench`: what plans, drives, replays and predictions cost on this machine."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable

import typer

COMMANDS = ("plan", "deadline", "realtime", "commands", "replay", "families", "precision", "safety")


def application(names: Iterable[str]) -> typer.Typer:
    """The commands of these names. One whose packages are missing says so when it is called."""
    app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)
    app.callback()(lambda: None)  # so that one command alone keeps its name
    for name in names:
        try:
            command = importlib.import_module(f"jepa_ros_benchmarks.{name}").main
        except ModuleNotFoundError as error:
            app.command(name, help=f"Needs {error.name}, which is not installed.")(_refusal(name, error.name))
        else:
            app.command(name)(command)
    return app


def _refusal(name: str, missing: str | None):
    def main() -> None:
        typer.echo(f"jepa-bench {name}: needs {missing}; run `make setup-train`, or install it with pip", err=True)
        raise typer.Exit(1)

    return main


def main() -> None:
    """Entry point. Only the command that is called is imported: the rooms of the others need torch, ROS or MuJoCo."""
    asked = sys.argv[1:2]
    application(asked if asked and asked[0] in COMMANDS else COMMANDS)()


if __name__ == "__main__":
    main()
