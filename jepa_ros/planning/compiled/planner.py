"""`GraphPlanner`: the planners of this package as plan graphs, with the same plans from the same seed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jepa_ros.errors import PlanningError
from jepa_ros.planning.compiled.cache import PlanCache, default_cache
from jepa_ros.planning.compiled.compiler import BEST, STATE, PlanShape, Question, compile_plan, content_hash
from jepa_ros.planning.compiled.execution import PlanRun
from jepa_ros.planning.compiled.model import history_values
from jepa_ros.planning.compiled.objectives import terms_of
from jepa_ros.planning.compiled.precision import PrecisionChoice
from jepa_ros.planning.compiled.schedule import Call, Schedule
from jepa_ros.planning.compiled.scoring import WORST
from jepa_ros.planning.config import PlannerConfig
from jepa_ros.planning.descent import BETAS
from jepa_ros.planning.icem import colouring, shifted
from jepa_ros.planning.pacing import IterationPace
from jepa_ros.planning.policy import policy_plans
from jepa_ros.planning.problem import Plan, PlanProblem
from jepa_ros.planning.search import IteratedPlanner
from jepa_ros.types import Float32
from jepa_ros.world_model import OnnxWorldModel

_CPU = "CPUExecutionProvider"
SAMPLING = ("cem", "icem", "mppi")


class GraphPlanner(IteratedPlanner):
    """Plans by calls of plan graphs, each for one iteration or several; see `SamplingPlanner`, whose plans these are.

    A plan ends between calls only: a search that converges within one is ended behind it.

    A graph is compiled at the first problem of its kind, kept in memory and on disk; `prepare` does so before.
    What may change without: history, goal, limits and weights, bounds, guesses. What may not: which terms and
    constraints there are, the number of guesses, and the steps of history of a model whose output is a sequence.

    Args:
        model: of an opened bundle; plan graphs have its threads and providers.
        config: settings.
        name: `cem`, `icem`, `mppi`, `gradient` or `hybrid`.
        seed: the same seed and the same problems, the same plans.
        clock: monotonic seconds, to time iterations.
        cache: folder of compiled graphs; None takes `default_cache`.

    Attributes:
        name: of the planner.
        calls: how often each graph, by its file, ran in the last plan.

    Raises:
        PlanningError: an unknown name, samples of a policy that the bundle does not have, or a planner that needs
            derivatives with a bundle that has none.
    """

    def __init__(
        self,
        model: OnnxWorldModel,
        config: PlannerConfig,
        name: str = "cem",
        seed: int = 0,
        clock: Callable[[], float] = time.perf_counter,
        cache: Path | None = None,
    ) -> None:
        super().__init__(config, clock)
        self.name = name
        self._model, self._bundle = model, model.bundle
        if name not in (*SAMPLING, "gradient", "hybrid"):
            raise PlanningError(f"no planner is called '{name}'")
        if name in ("gradient", "hybrid") and not model.has_derivative:
            raise PlanningError(
                f"planner '{name}' needs predictor_vjp.onnx, which bundle {self._bundle.path} does not have; export it "
                "with its derivatives"
            )
        if config.policy_samples and not model.has_policy:
            raise PlanningError("planner setting 'policy_samples' needs a bundle with a policy head; set it to 0")
        self._rng = np.random.default_rng(seed)
        self._cache = PlanCache(default_cache() if cache is None else cache)
        self._runs: dict[str, PlanRun] = {}
        self._opened_a_graph = False
        self.calls: dict[Path, int] = {}
        self._colouring = colouring(-(-config.horizon // config.knot), config.beta) if name == "icem" else None
        self._elites: Float32 | None = None
        self._noise: Float32 = np.zeros(0, np.float32)
        accelerated = model.provider != _CPU
        self._schedule = Schedule(name, config, accelerated)
        self._precision = PrecisionChoice(self._bundle, config.precision, accelerated)

    @property
    def most_iterations(self) -> int:
        """Of a plan: for `hybrid`, descents follow the sampling."""
        return self._schedule.iterations

    def _pace_of(self, iteration: int) -> IterationPace:
        return self._schedule.pace(self._schedule.call(iteration, self._has_deadline))

    def _took_its_time(self) -> bool:
        return not self._opened_a_graph

    def _judged(self, scores: list[tuple[float, float]]) -> list[tuple[float, float]]:
        # The first descent of a hybrid cannot lower the energy: it only scores what the sampling has found.
        sampled = self.config.iterations
        return scores[:sampled] + scores[sampled + 1 :] if self.name == "hybrid" else scores

    @property
    def provider(self) -> str | None:
        """What the graphs run on; None before the first."""
        return next((run.provider for run in self._runs.values()), None)

    @property
    def precision(self) -> str:
        """In what the model computes: `fp16` only once `prepare` has found the plans to be those of `fp32`."""
        return self._precision.chosen

    @property
    def precision_reason(self) -> str:
        """Why it does."""
        return self._precision.reason

    @property
    def graphs(self) -> list[Path]:
        """Files of the plan graphs that are open, in the order in which they were needed."""
        return [run.path for run in self._runs.values()]

    def compute_in_half(self) -> None:
        """Compute the model in fp16 from now on, whether the plans agree or not; `prepare` may take that back."""
        self._precision.chosen = "fp16"

    def prepare(self, problem: PlanProblem) -> None:
        """Compile and open what a problem of this kind needs under a deadline, and run it once; before that, choose the
        precision, see `PrecisionChoice`."""
        state = self._rng.bit_generator.state
        self._precision.settle(problem, lambda each: self._search(each, state), lambda: self.provider)
        self._elites, self._rng.bit_generator.state = None, state
        self._has_deadline = True
        self._begin(problem)
        ran: set[tuple[str, int]] = set()
        for call in self._schedule.calls(deadline=True):
            if (call.kind, call.count) not in ran:
                ran.add((call.kind, call.count))
                self._call(problem, call.first)
        self._elites = None
        self._rng.bit_generator.state = state

    def _search(self, problem: PlanProblem, noise: Mapping[str, Any]) -> Plan:
        """A whole plan from this state of the generator and nothing else before it, not timed."""
        self._elites, self._rng.bit_generator.state = None, noise
        self._has_deadline = True
        self._begin(problem)
        scores = [score for call in self._schedule.calls(deadline=True) for score in self._call(problem, call.first)]
        return self._finish(problem, scores, "iterations")

    def _begin(self, problem: PlanProblem) -> None:
        self.calls = {}
        size = problem.bounds.low.size
        if problem.horizon != self.config.horizon:
            raise PlanningError(f"this planner plans {self.config.horizon} steps, the problem has {problem.horizon}")
        self._question = Question(
            terms_of(problem.objective, size), [terms_of(guardrail, size) for guardrail in problem.guardrails]
        )
        given = self._inputs(problem)
        start = problem.bounds.rest if problem.warm_start is None else problem.warm_start
        plan = (problem.horizon, size)
        mean = problem.bounds.apply(np.broadcast_to(start, plan).astype(np.float32))
        guesses = [np.broadcast_to(problem.bounds.rest, plan), np.broadcast_to(start, plan), *problem.previous_plans]
        if self.config.policy_samples:
            guesses.extend(policy_plans(self._model, problem, self.config.policy_samples, self._rng))
        self._guesses = np.stack(guesses).astype(np.float32)
        always = len(guesses) + 2 + (self.config.kept if self.name == "icem" else 0)
        if self.config.samples <= always:
            raise PlanningError(f"planner setting 'samples' must be above {always}, the guesses always scored")
        std = np.broadcast_to(problem.bounds.half_range * np.float32(self.config.std), plan)
        best = {
            "best_actions": mean,
            "best_states": np.full((plan[0], self._model.latent_dim), np.nan, np.float32),
            "best_energy": np.full(1, WORST, np.float32),
            "best_violation": np.full(1, WORST, np.float32),
        }
        self._limits = problem.norm_limit, problem.block
        floor = problem.bounds.half_range * np.float32(self.config.min_std)
        self._fixed = {"descent": given, "sampling": {**given, "guesses": self._guesses, "floor": floor}}
        if self.name == "gradient":
            state = _descent_from(self._started(problem, mean, std), best)
        else:
            kept = self._elites
            self._hold = kept is not None
            elites = np.zeros((self.config.elites, *plan), np.float32) if kept is None else shifted(kept)
            state = {"mean": mean, "std": std, "elites": elites, **best}
        self._enter(self._schedule.call(0, self._has_deadline), state)

    def _started(self, problem: PlanProblem, mean: Float32, std: Float32) -> Float32:
        """Where gradient descent starts from: the guesses, and samples around the mean."""
        config = self.config
        knots = -(-config.horizon // config.knot)
        noise = self._rng.standard_normal((config.samples, knots, mean.shape[1]), dtype=np.float32)
        rows = noise[:, np.arange(config.horizon) // config.knot] * std + mean
        rows[: len(self._guesses)] = self._guesses
        return problem.bounds.apply(rows)

    def _iterate(self, problem: PlanProblem, iteration: int) -> tuple[float, float]:
        return self._call(problem, iteration)[-1]

    def _call(self, problem: PlanProblem, iteration: int) -> list[tuple[float, float]]:
        call = self._schedule.call(iteration, self._has_deadline)
        opened = len(self._runs)
        if (call.kind, call.count) != (self._entered.kind, self._entered.count):
            self._enter(call, self._state_for(call))
        if call.kind == "sampling":
            self._draw(call)
        else:
            steps = np.arange(call.first, call.first + call.count) - self._schedule.sampled + 1
            self._run.write("corrections", np.array([[1 - beta**step for beta in BETAS] for step in steps], np.float32))
        self._run()
        self._opened_a_graph = len(self._runs) > opened
        self.calls[self._run.path] = self.calls.get(self._run.path, 0) + 1
        self._hold = True
        return [(_told(violation), _told(energy)) for violation, energy in self._run.read("trace")]

    def _enter(self, call: Call, state: dict[str, Float32]) -> None:
        """Have the graph of such calls go on from this state."""
        self._run, self._entered = self._opened(call, state), call
        for name, values in {**self._fixed[_carried(call)], **state}.items():
            self._run.write(name, values)

    def _state_for(self, call: Call) -> dict[str, Float32]:
        """What the last call has left, as such a call takes it."""
        if _carried(call) == _carried(self._entered):
            return {name: self._run.read(name) for name in STATE[_carried(call)]}
        # A descent begins at the best so far, and the elites but for the first, which it is.
        best = {name: self._run.read(name) for name in BEST}
        return _descent_from(np.concatenate([best["best_actions"][None], self._run.read("elites")[1:]]), best)

    def _draw(self, call: Call) -> None:
        config = self.config
        knots = -(-config.horizon // config.knot)
        shape = (call.count, config.samples, knots, self._guesses.shape[2])
        if self._noise.shape != shape:
            self._noise = np.zeros(shape, np.float32)
        noise = self._rng.standard_normal(dtype=np.float32, out=self._noise)
        if self._colouring is not None:
            noise = np.matmul(self._colouring, noise)
        later = np.ones(call.count, np.float32)
        later[0] = call.first > 0
        kept = np.ones(call.count, np.float32)
        kept[0] = self._hold
        for name, values in (("noise", noise), ("later", later), ("kept", kept)):
            self._run.write(name, values)

    def _best(self) -> tuple[Float32, Float32] | None:
        if self.name == "icem" and self._hold:
            self._elites = self._run.read("elites")
        if self._run.read("best_energy")[0] >= WORST:
            return None
        return self._run.read("best_actions"), self._run.read("best_states")

    def _inputs(self, problem: PlanProblem) -> dict[str, Float32]:
        bounds = problem.bounds
        self._known, history = history_values(self._bundle, self._model.layout, self.config.horizon, problem.history)
        return {
            **history,
            "low": bounds.low,
            "high": bounds.high,
            "rest": bounds.rest,
            **self._question.parameters(),
        }

    def _opened(self, call: Call, state: dict[str, Float32]) -> PlanRun:
        """The graph of the present question for such calls, compiled at need."""
        norm_limit, block = self._limits
        sampling = call.kind == "sampling"
        shape = PlanShape(
            ("cem" if self.name == "hybrid" else self.name) if sampling else "gradient",
            self.config,
            self._guesses.shape[2],
            self._known,
            guesses=len(self._guesses) if sampling else 0,
            rows=self.config.samples if sampling else len(state["actions"]),
            steps=call.count,
            descends=call.kind != "scoring",
            norm_limit=norm_limit,
            block=block,
            precision=self._precision.chosen,
        )
        key = repr((shape, self._question.structure, [v.shape for v in self._question.parameters().values()]))
        if key not in self._runs:
            digest = content_hash(self._bundle, shape, self._question)
            path = self._cache.get(digest, lambda: compile_plan(self._bundle, shape, self._question))
            self._runs[key] = PlanRun(path, STATE[shape.kind], self._model.threads, self._model.providers)
        return self._runs[key]


def _carried(call: Call) -> Literal["sampling", "descent"]:
    """Which state such a call carries."""
    return "sampling" if call.kind == "sampling" else "descent"


def _descent_from(actions: Float32, best: dict[str, Float32]) -> dict[str, Float32]:
    """The state of a descent that begins at these sequences `[B, H, A]`."""
    moments = np.zeros_like(actions)
    return {"actions": actions, "first_moment": moments, "second_moment": moments, **best}


def _told(value: float) -> float:
    return float("inf") if value >= WORST else float(value)
