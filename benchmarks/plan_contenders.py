"""Who takes part in `jepa-bench plan`: this package's planners, PyTorch, and public planners, each on every provider,
precision and number of threads that was asked for and is there."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jepa_ros.errors import JepaRosError
from jepa_ros.planning.config import PlannerConfig
from jepa_ros.world_model import OnnxWorldModel
from jepa_ros_benchmarks.plan_figures import Label, Run
from jepa_ros_benchmarks.plan_limit import fixed_graph_flops, installed, plan_flops
from jepa_ros_benchmarks.plan_ours import ENGINES, OwnPlanner
from jepa_ros_benchmarks.plan_problems import REFERENCE_SEED, Case, published_settings
from jepa_ros_benchmarks.plan_units import LARGE, Subject, lowered

if TYPE_CHECKING:
    from jepa_ros_benchmarks.plan_torch import TorchWorld

EAGER, PUBLISHED = "torch", "torch, published"
SEED = 7


@dataclass
class Contender:
    """Who plans.

    Attributes:
        label, config: what, on what, with which settings.
        run: plans once, timed.
        flops: of a plan; None where they are not counted.
        start_up_s: opening graphs and the first plan.
        published: it is the search whose energies are the references.
        calls: which plan graphs the last plan called, and how often; None where it calls none, or does not say.
    """

    label: Label
    config: PlannerConfig
    run: Callable[[Case], Run]
    flops: int | None = None
    start_up_s: float = 0.0
    published: bool = False
    calls: Callable[[], Mapping[Path, int] | None] = lambda: None


@dataclass(frozen=True)
class Wanted:
    """What the command line asks for.

    Attributes:
        planners, providers, precisions: names.
        threads: of the CPU, each tried.
        settings: of all planners. of_planner: of one, by its name.
        torch, public: whether PyTorch and public planners take part.
        engines: of this package's planners, see `plan_ours.ENGINES`. kinds: of PyTorch on a GPU, see `plan_cuda.KINDS`.
        published: whether the published search takes part, whose energies are the references.
    """

    planners: Sequence[str]
    providers: Sequence[str]
    precisions: Sequence[str]
    threads: Sequence[int]
    settings: PlannerConfig
    of_planner: Mapping[str, Mapping[str, Any]]
    torch: bool = True
    public: bool = True
    engines: Sequence[str] = ENGINES
    kinds: Sequence[str] = ("eager", "graph", "compiled")
    published: bool = True

    def config(self, planner: str) -> PlannerConfig:
        """Its settings."""
        return replace(self.settings, **self.of_planner.get(planner, {}))

    def places(self) -> Iterator[tuple[str, int | None]]:
        """Providers, the CPU once for each number of threads."""
        for provider in self.providers:
            for threads in self.threads if provider == "cpu" else [None]:
                yield provider, threads


def own(subject: Subject, wanted: Wanted, skip: Callable[[str], None]) -> Iterator[Contender]:
    """This package's planners; `skip` takes a line on each that cannot take part."""
    for precision in wanted.precisions:
        if precision in ("tf32", "bf16"):
            skip(f"{precision}: PyTorch's, on a GPU; this package's planners are fp32, fp16 or int8")
            continue
        for provider, threads in wanted.places():
            try:
                names = installed(provider)
                bundle = subject.bundle if _is_plan_only(subject, precision) else lowered(subject.bundle, precision)
                begin = time.perf_counter()
                model = OnnxWorldModel(bundle, threads or 1, names)
                opened = time.perf_counter() - begin
            except JepaRosError as error:
                skip(f"{provider} {precision}: {error}")
                continue
            for engine in wanted.engines:
                for name in wanted.planners:
                    label = Label(name, engine, provider, precision, threads)
                    try:
                        yield _own(subject, model, label, wanted.config(name), opened)
                    except JepaRosError as error:
                        skip(f"{label}: {error}")


def _is_plan_only(subject: Subject, precision: str) -> bool:
    """Whether plan graphs alone are converted: a bundle of this size is not, for a benchmark."""
    return subject.name == LARGE and precision == "fp16"


def _own(subject: Subject, model: OnnxWorldModel, label: Label, config: PlannerConfig, opened: float) -> Contender:
    begin = time.perf_counter()
    apart = label.provider != "cpu"
    half = _is_plan_only(subject, label.precision)
    planner = OwnPlanner(model, label.planner, config, label.engine, SEED, apart, half)
    made = time.perf_counter() - begin
    plain = plan_flops(subject.bundle, label.planner, config, config.iterations)
    return Contender(label, config, planner, plain, opened + made, calls=planner.calls)


def pytorch(world: TorchWorld, wanted: Wanted, warm: bool, skip: Callable[[str], None]) -> Iterator[Contender]:
    """The search in PyTorch: as published, whose energies are the references, and with the settings of the others where
    those differ.

    Args:
        warm: whether any problem has a warm start, which the published search does not use.
    """
    import torch

    if "cuda" in wanted.providers and not torch.cuda.is_available():
        skip(f"PyTorch {torch.__version__} on a GPU: it has no CUDA here")
    cem, published = wanted.config("cem"), published_settings(wanted.settings)
    plans = [(PUBLISHED, published, REFERENCE_SEED, False)] if wanted.published else []
    if warm or cem != published:
        plans.append((EAGER, cem, SEED, True))
    for engine, config, seed, warmed in plans:
        for provider, threads in wanted.places():
            for label, run in _on(world, config, engine, provider, threads, seed, warmed, wanted):
                yield Contender(label, config, run, None, 0.0, published=engine == PUBLISHED)


def _on(
    world: TorchWorld,
    config: PlannerConfig,
    engine: str,
    provider: str,
    threads: int | None,
    seed: int,
    warm: bool,
    wanted: Wanted,
) -> Iterator[tuple[Label, Callable[[Case], Run]]]:
    import torch

    from jepa_ros_benchmarks import plan_cuda
    from jepa_ros_benchmarks.plan_torch import EagerCEM

    if provider == "cpu" and threads is not None:
        yield Label("cem", engine, provider, "fp32", threads), EagerCEM(world, config, threads, seed, warm)
    if provider == "cuda" and torch.cuda.is_available():
        for kind in wanted.kinds:
            for precision in wanted.precisions:
                if precision in plan_cuda.PRECISIONS:
                    name = engine.replace(EAGER, plan_cuda.ENGINES[kind])
                    run = plan_cuda.CudaCEM(world, config, kind, precision, seed, warm)
                    yield Label("cem", name, provider, precision, None), run


def public(world: TorchWorld, wanted: Wanted, skip: Callable[[str], None]) -> Iterator[Contender]:
    """Public planners with the settings of ours of the same name."""
    import torch

    from jepa_ros_benchmarks.plan_public import PUBLIC

    for provider, threads in wanted.places():
        if provider == "tensorrt" or (provider == "cuda" and not torch.cuda.is_available()):
            continue
        there = world
        if provider == "cuda":
            from copy import deepcopy

            there = deepcopy(world).to(torch.device("cuda"))
        for engine, (planner, make) in PUBLIC.items():
            config = wanted.config(planner)
            try:
                run = make(there, config, threads, SEED)
            except JepaRosError as error:
                skip(str(error))
                continue
            yield Contender(Label(planner, engine, provider, "fp32", threads), config, run)


def count_flops(contenders: Sequence[Contender], case: Case) -> None:
    """Fill in what plans are, after each has planned once.

    In PyTorch by its own counter; captured graphs are as the same search run eagerly, since a counter does not see into
    them. Compiled plans by their graphs, which leave out what need not be computed; where a planner does not say which
    it called, the count of the same plan called graph by graph stays.
    """
    counted: dict[PlannerConfig, int] = {}
    for contender in contenders:
        if contender.flops is None and "graph" not in contender.label.engine:
            from torch.utils.flop_counter import FlopCounterMode

            with FlopCounterMode(display=False) as counter:
                contender.run(case)
            contender.flops = counted[contender.config] = int(counter.get_total_flops())
    for contender in contenders:
        if calls := contender.calls():
            contender.flops = sum(count * fixed_graph_flops(path) for path, count in calls.items())
        elif contender.flops is None:
            contender.flops = counted.get(contender.config)


def has_torch() -> bool:
    """Whether PyTorch is installed; it is not imported."""
    return importlib.util.find_spec("torch") is not None
