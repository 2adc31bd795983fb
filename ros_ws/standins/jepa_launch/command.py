"""`jepa-launch FILE key:=value …`: `ros2 launch` for machines without ROS's launch."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

from jepa_launch import LaunchError
from jepa_launch.context import FILE_DIR, Context
from jepa_launch.engine import Engine
from jepa_launch.share import package_share


def load(path: Path, context: Context) -> Any:
    """The launch description that a file's `generate_launch_description` returns; `ThisLaunchFileDir` is its folder
    from now on.

    Raises:
        LaunchError: no such file, or it uses what the stand-in does not have.
    """
    if not path.is_file():
        raise LaunchError(f"launch file {path}: no such file")
    spec = importlib.util.spec_from_file_location(path.stem.replace(".", "_"), path)
    if spec is None or spec.loader is None:
        raise LaunchError(f"launch file {path}: not a Python file")
    context.launch_configurations[FILE_DIR] = str(path.resolve().parent)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        return module.generate_launch_description()
    except (ImportError, AttributeError, TypeError) as error:
        text = f"launch file {path}: {error}; the stand-in has no such thing, run it with ROS's own `ros2 launch`"
        raise LaunchError(text) from error


def find(name: str) -> Path:
    """A path, or the name of a file in the project's launch folder."""
    path = Path(name)
    return path if path.exists() else Path(package_share("jepa_ros")) / "launch" / name


def main(argv: list[str] | None = None) -> int:
    """Entry point; the exit code is 0 unless a process failed by itself or the file cannot be run."""
    parser = argparse.ArgumentParser(prog="jepa-launch", description=__doc__)
    parser.add_argument("file", help="a launch file, or the name of one in launch/")
    parser.add_argument("arguments", nargs="*", metavar="key:=value", help="launch arguments")
    parser.add_argument("-s", "--show-args", action="store_true", help="list the file's arguments and stop")
    parser.add_argument("-d", "--debug", action="store_true", help="show the traceback of an error in the file")
    options = parser.parse_args(argv)
    try:
        given = {}
        for pair in options.arguments:
            key, found, value = pair.partition(":=")
            if not found:
                raise LaunchError(f"argument {pair!r}: must be key:=value")
            given[key] = value
        engine = Engine(given)
        description = load(find(options.file), engine.context)
        declared = {argument.name: argument for argument in description.arguments()}
        if options.show_args:
            for argument in declared.values():
                default = (
                    ""
                    if argument.default_value is None
                    else f" (default: {engine.context.perform(argument.default_value)!r})"
                )
                sys.stdout.write(f"    '{argument.name}': {argument.description}{default}\n")
            sys.stdout.flush()
            return 0
        unknown = sorted(set(given) - set(declared))
        if unknown:
            raise LaunchError(
                f"argument {', '.join(unknown)}: not declared; {options.file} has {', '.join(sorted(declared))}"
            )
        return engine.run(description)
    except BrokenPipeError:  # `--show-args | head`: what is left has no reader, and Python would try again at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except LaunchError as error:
        sys.stderr.write(f"jepa-launch: {error}\n")
        return 1
    except Exception as error:  # of a launch file's own function; ros2 launch says it so, too
        if options.debug:
            raise
        sys.stderr.write(f"[ERROR] [launch]: Caught exception in launch (see debug for traceback): {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
