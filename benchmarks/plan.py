"""How long does a plan take, and when is it as good as a published one: planners × engines × providers × precisions.

    jepa-bench plan --help

Everybody plans the same problems in turns in one process, warm: this package's planners, the same search in PyTorch,
and public planners on the same dynamics and cost. The reference energy of a problem is the best one that the
published search, CEM 300 × 10 with white noise and no warm start, reaches on it.
"""

from __future__ import annotations

import json
import math
import os
import platform
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnxruntime
import typer
import yaml
from rich.console import Console
from rich.markup import escape
from rich.progress import track

from jepa_ros.errors import JepaRosError
from jepa_ros.planning.compiled.cache import default_cache
from jepa_ros.planning.config import PlannerConfig
from jepa_ros.share import default_bundle
from jepa_ros.world_model import OnnxWorldModel
from jepa_ros_benchmarks import plan_contenders as who
from jepa_ros_benchmarks.plan_figures import Label, Run, Series, own_reference, row_of, with_ratios
from jepa_ros_benchmarks.plan_limit import PROVIDERS, best_flops_per_second, installed
from jepa_ros_benchmarks.plan_ours import ENGINES
from jepa_ros_benchmarks.plan_problems import (
    Case,
    base_settings,
    cache_folder,
    cases_of,
    drivable,
    judge,
    reference_energies,
)  # fmt: skip
from jepa_ros_benchmarks.plan_report import plot, tables_of
from jepa_ros_benchmarks.plan_units import LARGE, Subject, UnitName, given, unit

# GNU OpenMP reads these when PyTorch is imported. With the default, waiting threads spin: on a machine of few cores
# that made PyTorch on two threads ten times slower than on one, which would be no honest baseline.
PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}
_WIDTH = 130
PARITY = 1e-4  # of energies, relative
PLANNERS = "cem,icem,mppi,gradient,hybrid"


def main(
    bundle: Annotated[Path | None, typer.Argument(help="folder of a bundle; default: the shipped one")] = None,
    unit_name: Annotated[UnitName | None, typer.Option("--unit", help="a work unit of random weights instead")] = None,
    planner: Annotated[str, typer.Option(help="names, with commas between")] = PLANNERS,
    provider: Annotated[str | None, typer.Option(help="of cpu,cuda,tensorrt; default: those installed")] = None,
    precision: Annotated[str, typer.Option(help="of fp32,fp16,int8, and for PyTorch on a GPU tf32,bf16")] = "fp32",
    samples: Annotated[int | None, typer.Option(min=6, help="of all planners; default: the bundle's")] = None,
    iterations: Annotated[int | None, typer.Option(min=1, help="the same")] = None,
    horizon: Annotated[int | None, typer.Option(min=1, help="the same")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="PLANNER.NAME=VALUE", help="of one planner; may be repeated")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="problems, each planned once by everybody")] = 20,
    threads: Annotated[str, typer.Option(help="of the CPU, each tried")] = "1,2",
    torch: Annotated[bool, typer.Option(help="PyTorch's rows, and public planners, which need it")] = True,
    public: Annotated[bool, typer.Option(help="public planners' rows")] = True,
    engine: Annotated[str, typer.Option(help="of this package's planners")] = ",".join(ENGINES),
    kinds: Annotated[str, typer.Option("--torch-kinds", help="of PyTorch on a GPU")] = "eager,graph,compiled",
    json_out: Annotated[Path | None, typer.Option("--json", help="write the rows here")] = None,
    plot_out: Annotated[Path | None, typer.Option("--plot", help="write a plot of energy against time here")] = None,
) -> None:
    """Time planners side by side, and what energy they reach when."""
    if any(os.environ.get(name) != value for name, value in PASSIVE.items()):
        line = [sys.executable, "-m", "jepa_ros_benchmarks.cli", *sys.argv[1:]]
        os.execve(sys.executable, line, {**os.environ, **PASSIVE})
    console = Console() if sys.stdout.isatty() else Console(width=_WIDTH)
    try:
        if bundle is not None and unit_name is not None:
            raise JepaRosError("--unit: a bundle is given too; choose one")
        subject = unit(unit_name) if unit_name is not None else given(bundle or default_bundle())
        given_settings = {"samples": samples, "iterations": iterations, "horizon": horizon}
        overrides = {name: value for name, value in given_settings.items() if value is not None}
        wanted = who.Wanted(
            planners=planner.split(","),
            providers=provider.split(",") if provider else installed_providers(),
            precisions=precision.split(","),
            threads=[int(count) for count in threads.split(",")],
            settings=base_settings(subject.bundle.manifest, overrides),
            of_planner=own_settings(setting or []),
            torch=torch,
            public=public,
            engines=engine.split(","),
            kinds=kinds.split(","),
            published=subject.name != LARGE,
        )
        unknown = [name for name in wanted.providers if name not in PROVIDERS]
        if unknown:
            raise JepaRosError(f"--provider {unknown[0]}: must be of {', '.join(PROVIDERS)}")
        if strange := set(wanted.engines) - set(ENGINES):
            raise JepaRosError(f"--engine {strange.pop()}: must be of {', '.join(ENGINES)}")
        measure(subject, wanted, repeats, console, json_out, plot_out)
    except JepaRosError as error:
        console.print(f"[red]plan: {escape(str(error))}[/red]")
        raise typer.Exit(1) from error


def measure(
    subject: Subject, wanted: who.Wanted, repeats: int, console: Console, json_out: Path | None, plot_out: Path | None
) -> None:
    """Let everybody plan; print the table, and write what is asked for."""
    judging = "cpu" if "cpu" in wanted.providers else wanted.providers[0]
    model = OnnxWorldModel(subject.bundle, 1, installed(judging))
    real = not subject.is_unit and drivable(subject.bundle.manifest)
    cases, source = cases_of(model, repeats, wanted.settings.horizon, real)
    references = [math.nan] * len(cases)  # a candidate of the large unit takes seconds on a CPU
    if wanted.published:
        references = [float(energy) for energy in reference_energies(model, cases, wanted.settings)]
    lines: list[str] = []
    contenders = list(who.own(subject, wanted, lines.append))
    contenders += _torch_contenders(subject, wanted, model, cases, lines)
    if not contenders:
        raise JepaRosError("nobody can plan here: " + "; ".join(lines))
    kept = len(_compiled())
    for contender in track(contenders, "warming up", console=console):
        begin = time.perf_counter()
        contender.run(cases[0])
        contender.start_up_s += time.perf_counter() - begin
    compiled = len(_compiled()) - kept
    who.count_flops(contenders, cases[0])
    places = {(contender.label.provider, contender.label.threads) for contender in contenders}
    before = {place: _limit(*place) for place in places}
    found: dict[Label, Series] = {contender.label: Series() for contender in contenders}
    for case, reference in track(list(zip(cases, references, strict=True)), "planning", console=console):
        # Nobody is always the one after the same other.
        first = case.number % len(contenders)
        for contender in contenders[first:] + contenders[:first]:
            run = contender.run(case)
            _note(found[contender.label], run, judge(model, case, run.actions), reference, contender.published)
    rows = [_row(subject, contender, found[contender.label]) for contender in contenders]
    # Twice, since others may use the machine.
    limits = {place: max(before[place], _limit(*place)) for place in places}
    for row in rows:
        row["limit_gflops"] = limits[row["provider"], row["threads"]] * 1e-9 or None
        if row["flops"] and row["limit_gflops"]:
            row["share_of_limit"] = row["flops"] / (row["p50_ms"] * 1e6) / row["limit_gflops"]
    with_ratios(rows, who.EAGER, who.PUBLISHED)
    title = f"{subject.name}: {len(cases)} problems"
    for table in tables_of(rows, title):
        console.print(table)
    about = [*_about(subject, source, wanted.settings, compiled), *_agreement(contenders, found, references)]
    for line in (*about, *(f"left out: {line}" for line in dict.fromkeys(lines))):
        console.print(escape(line), highlight=False)
    if json_out is not None:
        json_out.write_text(json.dumps(rows, indent=1))
    if plot_out is not None:
        plot(found, title, plot_out)


def _compiled() -> list[Path]:
    """Plan graphs in the cache."""
    return list(default_cache().glob("*"))


def _limit(provider: str, threads: int | None) -> float:
    """Of the device; 0 where ONNX Runtime cannot tell, as where PyTorch alone has the GPU."""
    try:
        return best_flops_per_second(provider, threads)
    except JepaRosError:
        return 0.0


def _note(series: Series, run: Run, judged: float, reference: float, published: bool) -> None:
    series.runs.append(run)
    series.judged.append(judged)
    series.references.append(own_reference(reference, run) if published else reference)


def _torch_contenders(
    subject: Subject, wanted: who.Wanted, model: OnnxWorldModel, cases: list[Case], lines: list[str]
) -> list[who.Contender]:
    """PyTorch and public planners, after the modules were held against the bundle's graphs."""
    if not wanted.torch:
        return []
    if not who.has_torch():
        lines.append("PyTorch and public planners: torch is not installed; run `make setup-train`")
        return []
    from jepa_ros_benchmarks.plan_torch import check_parity

    try:
        world = subject.torch()
    except JepaRosError as error:
        lines.append(str(error))
        return []
    check_parity(world, model, cases[0], wanted.settings.horizon)
    warm = any(case.warm_start is not None for case in cases)
    found = list(who.pytorch(world, wanted, warm, lines.append))
    if wanted.public:
        found += who.public(world, wanted, lines.append)
    return found


def _row(subject: Subject, contender: who.Contender, series: Series) -> dict[str, Any]:
    row = row_of(subject.name, contender.label, contender.config, series)
    return {**row, "flops": contender.flops, "start_up_s": contender.start_up_s}


def _about(subject: Subject, source: str, settings: PlannerConfig, compiled: int) -> list[str]:
    """What the table does not say."""
    made = "was in the cache" if subject.made_s is None else f"was made in {subject.made_s:.0f} s"
    return [
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores; ONNX Runtime {onnxruntime.__version__}",
        *([f"unit: {subject.bundle.path} ({made}; cache: {cache_folder()})"] if subject.is_unit else []),
        f"problems: {source}; planned in turns, warm; p99 of few plans is their slowest",
        "reference: what CEM 300 × 10, white noise, no warm start reaches; its own rows are held to what they reach",
        "energy: of the actions returned, judged by the fp32 bundle; calls: candidates × steps, a backward counts two",
        "× torch: PyTorch eager at its best threads over p50; limit: an fp32 product of large matrices, same threads",
        f"start-up: opening the graphs and the first plan; temperature {settings.temperature:g}, knot {settings.knot}",
        f"compiled plans: {compiled} made in that time, others were in {default_cache()}",
    ]


def _agreement(contenders: list[who.Contender], found: dict[Label, Series], references: list[float]) -> list[str]:
    """How near PyTorch's published search comes to the references, which are of the same noise on ONNX Runtime."""
    lines = []
    for contender in contenders:
        if contender.published:
            runs = found[contender.label].runs
            apart = [abs(run.energies[-1] / energy - 1) for run, energy in zip(runs, references, strict=True)]
            same = sum(difference <= PARITY for difference in apart)
            lines.append(
                f"{contender.label}: {same} of {len(apart)} energies within {PARITY:g} of the references, which ONNX "
                f"Runtime reaches on the same noise; median {np.median(apart):.0e}, largest {max(apart):.0e}"
            )
    return lines


def installed_providers() -> list[str]:
    """Those of ours that this ONNX Runtime has."""
    available = onnxruntime.get_available_providers()
    return [name for name, full in PROVIDERS.items() if full in available]


def own_settings(texts: list[str]) -> dict[str, dict[str, Any]]:
    """`icem.samples=64` → `{"icem": {"samples": 64}}`.

    Raises:
        JepaRosError: another form, or a setting that planners do not have.
    """
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        path, equals, value = text.partition("=")
        name, dot, setting = path.partition(".")
        if not (equals and dot and setting in PlannerConfig.__dataclass_fields__):
            names = ", ".join(PlannerConfig.__dataclass_fields__)
            raise JepaRosError(f"--set {text}: must be PLANNER.NAME=VALUE, NAME one of {names}")
        found.setdefault(name, {})[setting] = yaml.safe_load(value)
    return found
