"""`python -m tests.faults`: every fault so many times, a table and a JSON file. Exit code 1: an expectation failed."""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from .processes import ProcessError, own_network

_COMES_UP_S = 10.0  # for a topic that a fault needs
_FILE_WIDTH = 200  # of the table where nobody looks at a screen


def _write(path: Path | None, rows: list[dict[str, Any]], complete: bool) -> None:
    """The file is whole at any time: another takes its place."""
    if path is None:
        return
    whole = {"complete": complete, "cpus": len(os.sched_getaffinity(0)), "load": list(os.getloadavg()), "rows": rows}
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(whole, indent=1) + "\n")
    beside.replace(path)


def command(
    runs: Annotated[int, typer.Option(min=1, help="how often each fault is run")] = 10,
    json_file: Annotated[Path | None, typer.Option("--json", help="where to write the rows")] = None,
    only: Annotated[list[str] | None, typer.Option(help="this fault alone; may be repeated")] = None,
    list_them: Annotated[bool, typer.Option("--list", help="name the faults and what is expected, and end")] = False,
    timing: Annotated[bool, typer.Option(help="whether a late safe command fails")] = True,
    keep_logs: Annotated[Path | None, typer.Option(help="folder for the nodes' logs")] = None,
) -> None:
    """Inject faults into real processes and topics while the simulated dog walks. Ctrl-C keeps the rows so far."""
    own_network()  # before anything of ROS is imported
    from .catalogue import CATALOGUE, chosen

    console = Console()
    if not console.is_terminal:
        console = Console(width=_FILE_WIDTH)
    if list_them:
        for fault in CATALOGUE:
            expected = " or ".join(sorted(outcome.value for outcome in fault.expected))
            console.print(f"{fault.name}: {expected}; {', '.join(fault.reasons) or 'need not be detected'}")
        return
    try:
        faults = chosen(only or [])
    except KeyError as error:
        console.print(f"[red]faults: {escape(error.args[0])}[/red]")
        raise typer.Exit(2) from error
    with tempfile.TemporaryDirectory() as folder:
        logs = keep_logs or Path(folder)
        logs.mkdir(parents=True, exist_ok=True)
        rows, complete = _run_all(faults, runs, logs, json_file, console)
    from .report import table

    console.print(table(rows))
    for entry in rows:
        for what in (*entry["failed"], *(entry["late"] if timing else [])):
            console.print(f"[red]{entry['fault']}: {escape(what)}[/red]")
    failed = any(entry["failed"] or (timing and entry["late"]) for entry in rows)
    raise typer.Exit(1 if failed or not complete else 0)


def _run_all(faults: list[Any], runs: int, logs: Path, json_file: Path | None, console: Console) -> Any:
    """Rows, and whether all runs were made."""
    from .bench import Bench
    from .report import row
    from .trial import Trials, run

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    done: list[Trials] = []
    complete = False
    bench = Bench(logs)
    try:
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("starting", total=len(faults) * runs)
            for fault in faults:
                trials = Trials(fault)
                done.append(trials)
                progress.update(task, description=fault.name)
                _run_fault(bench, trials, runs, lambda: progress.advance(task), run)
                _write(json_file, [row(one) for one in done], complete=False)
            complete = True
    except KeyboardInterrupt:
        console.print("[yellow]interrupted: the rows so far[/yellow]")
    finally:
        rows = [row(one) for one in done]
        _write(json_file, rows, complete)
        bench.close()
    return rows, complete


def _run_fault(bench: Any, trials: Any, runs: int, advance: Any, run: Any) -> None:
    """All runs of one fault; one that cannot be made is told, and the nodes are started anew."""
    fault = trials.fault
    for number in range(runs):
        try:
            bench.use(fault.setup)
            if fault.needs and number == 0:
                until = time.monotonic() + _COMES_UP_S
                while not bench.listener.rows(fault.needs) and time.monotonic() < until:
                    time.sleep(0.1)
                if not bench.listener.rows(fault.needs):
                    trials.skipped = f"nobody publishes {fault.needs}"
            if not trials.skipped:
                trials.runs.append(run(bench, fault, number))
                if not trials.runs[-1].recovered:
                    bench.restart()
        except (ProcessError, OSError) as error:
            trials.broken.append(f"run {number + 1}: {error}")
            bench.restart()
        advance()


def main() -> None:
    """Entry point."""
    typer.run(command)
