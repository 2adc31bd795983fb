"""What does a minute of recording cost to replay, for one bag and for many?

    jepa-bench replay --help

Copies a bag so many times, replays the copies without ROS on all cores, and divides. Each row starts its workers anew;
their start-up is part of the cost. The bag is read once before, so that no row pays for a cold disk.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from jepa_ros.share import default_bundle
from jepa_ros_replay.bags import Bag
from jepa_ros_replay.batch import run_batch


def main(
    bag: Annotated[Path, typer.Argument(help="the bag to copy")] = Path("bags/go2_room0"),
    bundle: Annotated[Path | None, typer.Option(help="folder of the bundle; default: the shipped one")] = None,
    counts: Annotated[str, typer.Option(help="how many bags in each row")] = "1,2,5,10,20,50",
    workers: Annotated[int, typer.Option(min=1, help="processes")] = os.cpu_count() or 1,
    json_out: Annotated[Path | None, typer.Option("--json", help="write the figures here")] = None,
) -> None:
    """Replay 1 to 50 copies of a bag and tell what a bag-minute costs."""
    console = Console()
    length = sum(1 for _ in Bag(bag).messages()) and ((Bag(bag).end_ns or 0) - (Bag(bag).begin_ns or 0)) * 1e-9
    table = Table(title=f"{bag.name}, {length:.1f} s; {workers} workers on {os.cpu_count()} cores")
    for column in ("bags", "bag-minutes", "wall, s", "s a bag-minute", "× real time", "plans alike"):
        table.add_column(column, justify="right")
    rows = []
    for count in (int(text) for text in counts.split(",")):
        with TemporaryDirectory() as folder:
            copies = [Path(shutil.copytree(bag, Path(folder) / f"bag_{number:03d}")) for number in range(count)]
            began = time.perf_counter()
            found = run_batch(
                copies, bundle or default_bundle(), Path(folder) / "out", workers=workers, console=console
            )
            wall = time.perf_counter() - began
        hashes = {row.summary["plan_sha256"] for row in found if row.summary is not None}
        alike = len(hashes) == 1 and all(row.summary is not None for row in found)
        minutes = count * length / 60
        table.add_row(
            str(count), f"{minutes:.1f}", f"{wall:.1f}", f"{wall / minutes:.1f}", f"{60 * minutes / wall:.1f}",
            "yes" if alike else "no",
        )  # fmt: skip
        rows.append({"bags": count, "bag_minutes": minutes, "wall_s": wall, "alike": alike})
    console.print(table)
    if json_out is not None:
        json_out.write_text(json.dumps(rows, indent=1))
