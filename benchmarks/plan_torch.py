"""The baseline of `jepa-bench plan`: the same dynamics, cost and cross-entropy search in PyTorch, as research code is
written: batched tensors on the device, no gradients, a Python loop over the horizon, the whole window recomputed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (torch's own name for it)

from jepa_ros.bundle.layout import StateLayout
from jepa_ros.bundle.manifest import CostTerm, Manifest
from jepa_ros.errors import JepaRosError
from jepa_ros.golden import relative_error
from jepa_ros.planning.config import PlannerConfig
from jepa_ros.planning.problem import ActionBounds
from jepa_ros.types import Float32
from jepa_ros.world_model import OnnxWorldModel
from jepa_ros_benchmarks.plan_figures import Run
from jepa_ros_benchmarks.plan_problems import Case, bounds_of, noise_of, warm_start_of

PARITY = 1e-4
_HEAD = "head:"


@dataclass
class TorchWorld:
    """A bundle's dynamics and cost as PyTorch modules.

    Attributes:
        predictor: latents `[B, T, D]`, actions `[B, T, A]` → `[B, T, D]` where `sequence`, else `[B, D]`; of a state
            of several tensors, `Flat` around the module.
        heads: value heads by name: latents `[N, D]`, goals `[N, D]` → `[N]`.
        terms: of the energy.
        context: the longest window. sequence: see predictor.
        low, high, rest: `[A]`.
        judged: the columns of the latent in `[D]`.
    """

    predictor: nn.Module
    heads: dict[str, nn.Module]
    terms: Sequence[CostTerm]
    context: int
    sequence: bool
    low: Tensor
    high: Tensor
    rest: Tensor
    judged: slice = field(default_factory=lambda: slice(None))

    def step(self, latents: Tensor, actions: Tensor) -> Tensor:
        """What comes after latents `[B, T, D]` and as many actions `[B, T, A]`: `[B, D]`."""
        latents, actions = latents[:, -self.context :], actions[:, -self.context :]
        if self.sequence:
            return self.predictor(latents, actions)[:, -1]
        missing = self.context - latents.shape[1]
        if missing > 0:
            latents = torch.cat([latents[:, :1].expand(-1, missing, -1), latents], 1)
            actions = torch.cat([actions.new_zeros(len(actions), missing, actions.shape[2]), actions], 1)
        return self.predictor(latents, actions)

    def rollout(self, latents: Tensor, past: Tensor, actions: Tensor) -> Tensor:
        """Latents `[T, D]`, past actions `[T − 1, A]` and candidates `[B, H, A]` → `[B, H, D]`."""
        rows, known = len(actions), len(latents)
        window = latents.expand(rows, -1, -1)
        applied = past.expand(rows, -1, -1)
        for h in range(actions.shape[1]):
            applied = torch.cat([applied, actions[:, h : h + 1]], 1)
            window = torch.cat([window, self.step(window, applied)[:, None]], 1)
        return window[:, known:]

    def energy(self, latents: Tensor, goal: Tensor) -> Tensor:
        """Latents `[B, H, D]` and goal `[D]` → `[B]`; as `GoalObjective`."""
        latents, goal = latents[..., self.judged], goal[self.judged]
        total = latents.new_zeros(len(latents))
        for term in self.terms:
            judged = latents[:, -1:] if term.steps == "last" else latents
            distance = self._distance(judged, goal, term)
            if term.steps == "last":
                over = distance[:, -1] * term.discount ** latents.shape[1]
            else:
                weights = term.discount ** torch.arange(latents.shape[1], device=latents.device)
                over = (distance * weights).mean(1) if term.steps == "all" else (distance * weights).sum(1)
            total = total + term.weight * over
        return total

    def _distance(self, latents: Tensor, goal: Tensor, term: CostTerm) -> Tensor:
        if term.metric == "value":
            flat = latents.reshape(-1, latents.shape[-1])
            head = self.heads[term.source.removeprefix(_HEAD)]
            return head(flat, goal.expand_as(flat)).view(latents.shape[:2])
        if term.metric == "cosine":
            return 1 - F.cosine_similarity(latents, goal.expand_as(latents), dim=-1, eps=1e-12)
        pairs = {"l2": F.mse_loss, "l1": F.l1_loss, "smooth_l1": F.smooth_l1_loss}
        apart = pairs[term.metric](latents, goal.expand_as(latents), reduction="none")
        return apart.sum(-1) if term.reduction == "sum" else apart.mean(-1)

    def to(self, device: torch.device) -> TorchWorld:
        """The same on a device; modules are moved, not copied."""
        heads = {name: head.to(device) for name, head in self.heads.items()}
        low, high, rest = (tensor.to(device) for tensor in (self.low, self.high, self.rest))
        return replace(self, predictor=self.predictor.to(device), heads=heads, low=low, high=high, rest=rest)


class Flat(nn.Module):
    """A predictor of several tensors, or of tokens, as one of flat states.

    Args:
        module: takes and gives the layout's tensors in its order, `[B, T, …]`, then takes actions.
    """

    def __init__(self, module: nn.Module, layout: StateLayout) -> None:
        super().__init__()
        self.module, self._tensors = module, layout.all
        self._places = [layout.place(tensor.name) for tensor in layout.all]

    def forward(self, states: Tensor, actions: Tensor) -> Tensor:
        """`[B, T, D]` and `[B, T, A]` → `[B, T, D]`, or `[B, D]`."""
        pairs = zip(self._tensors, self._places, strict=True)
        parts = [states[..., place].unflatten(-1, tensor.shape) for tensor, place in pairs]
        found = self.module(*parts, actions)
        found = found if isinstance(found, tuple) else (found,)
        pairs = zip(self._tensors, found, strict=True)
        return torch.cat([part.flatten(-len(tensor.shape)) for tensor, part in pairs], -1)


def torch_world(manifest: Manifest, predictor: nn.Module, heads: dict[str, nn.Module]) -> TorchWorld:
    """The manifest's dynamics and cost with these modules.

    Raises:
        JepaRosError: a part of the state is predicted only, the cost is of something else than the whole latent or a
            head, or actions are limited by their norm.
    """
    layout = StateLayout(manifest.state)
    strange = [t for t in manifest.cost if t.tokens or t.source not in (layout.latent.name, *_heads(heads))]
    if layout.taken != layout.all or strange or manifest.action.norm_limit is not None:
        raise JepaRosError("the PyTorch baseline knows costs of the whole latent, and actions limited by a box")
    plain = len(layout.all) == 1 and layout.latent.kind == "vector"
    low, high = bounds_of(manifest)
    bounds = ActionBounds(low, high)
    return TorchWorld(
        predictor=(predictor if plain else Flat(predictor, layout)).eval(),
        heads={name: head.eval() for name, head in heads.items()},
        terms=manifest.cost,
        context=manifest.predictor.max_context,
        sequence=manifest.predictor.output == "sequence",
        low=torch.from_numpy(bounds.low),
        high=torch.from_numpy(bounds.high),
        rest=torch.from_numpy(bounds.rest),
        judged=layout.place(layout.latent.name),
    )


def _heads(names: Iterable[str]) -> list[str]:
    return [_HEAD + name for name in names]


@torch.inference_mode()
def check_parity(world: TorchWorld, model: OnnxWorldModel, case: Case, horizon: int) -> float:
    """Largest relative difference of rollouts of random actions, PyTorch against ONNX Runtime.

    Raises:
        JepaRosError: they are not the same model.
    """
    rng = np.random.default_rng(0)
    low, high = world.low.numpy(), world.high.numpy()
    actions = rng.uniform(low, high, (16, horizon, len(low))).astype(np.float32)
    found = model.rollout(case.latents, case.past, actions)
    truth = world.rollout(*(torch.from_numpy(array) for array in (case.latents, case.past, actions))).numpy()
    error = relative_error(found, truth)
    if not error <= PARITY:
        raise JepaRosError(f"the bundle and the PyTorch modules differ by {error:.1e}: not the same weights")
    return error


def search(
    world: TorchWorld,
    config: PlannerConfig,
    latents: Tensor,
    past: Tensor,
    goal: Tensor,
    noise: Tensor,
    warm_start: Tensor | None = None,
    mark: Callable[[Tensor], None] | None = None,
) -> tuple[Tensor, Tensor]:
    """The cross-entropy method with the samples, guesses and updates of `jepa_ros.planning.cem`. No value is read by
    the host, so that a CUDA graph can capture it.

    Args:
        noise: `[iterations, samples, knots, A]`, standard normal.
        warm_start: `[H, A]`.
        mark: is called with the best energies so far, `[i]`, at the end of iteration i.

    Returns:
        The best candidate `[H, A]` and the best energy after each iteration `[iterations]`.
    """
    half, rest = (world.high - world.low) / 2, world.rest.expand(config.horizon, -1)
    start = rest if warm_start is None else torch.clamp(warm_start, world.low, world.high)
    mean, std, best = start, (half * config.std).expand_as(rest), start
    lowest = goal.new_full((), torch.inf)
    energies: list[Tensor] = []
    for iteration in range(config.iterations):
        held = noise[iteration].repeat_interleave(config.knot, 1)[:, : config.horizon]
        candidates = held * std + mean
        candidates[0], candidates[1] = rest, start
        if iteration > 0:
            candidates[2], candidates[3] = mean, best
        candidates = torch.clamp(candidates, world.low, world.high)
        energy = world.energy(world.rollout(latents, past, candidates).float(), goal)
        lowest_here, order = energy.topk(config.elites, largest=False)
        elites = candidates[order]
        best = torch.where(lowest_here[0] < lowest, elites[0], best)
        lowest = torch.minimum(lowest_here[0], lowest)
        keep = config.momentum
        mean = keep * mean + (1 - keep) * elites.mean(0)
        std = torch.maximum(keep * std + (1 - keep) * elites.std(0, correction=0), config.min_std * half)
        energies.append(lowest)
        if mark is not None:
            mark(lowest)
    return best, torch.stack(energies)


def tensors_of(case: Case, device: torch.device) -> list[Tensor]:
    """History, past actions and goal."""
    return [torch.from_numpy(array).to(device) for array in (case.latents, case.past, case.goal)]


class EagerCEM:
    """PyTorch eager on the CPU, in inference mode. Noise is drawn before the clock starts: the baseline has it free.

    Args:
        world: on the CPU.
        config: of the search.
        threads: of PyTorch; for more than one, waiting threads must be passive (OMP_WAIT_POLICY).
        seed: of the noise; the problem's number is added.
        warm: whether the problem's warm start is used.
    """

    def __init__(self, world: TorchWorld, config: PlannerConfig, threads: int, seed: int, warm: bool = True) -> None:
        self._world, self._config, self._threads, self._seed, self._warm = world, config, threads, seed, warm

    @torch.inference_mode()
    def __call__(self, case: Case) -> Run:
        torch.set_num_threads(self._threads)
        device = self._world.low.device
        inputs = tensors_of(case, device)
        start = warm_start_of(case, self._config.horizon) if self._warm else None
        warm_start = None if start is None else torch.from_numpy(start).to(device)
        noise = torch.from_numpy(noise_of(self._config, len(self._world.low), self._seed + case.number)).to(device)
        ends: list[float] = []
        begin = time.perf_counter()
        best, energies = search(
            self._world, self._config, *inputs, noise, warm_start, lambda _: ends.append(time.perf_counter())
        )
        actions = best.numpy()
        seconds = time.perf_counter() - begin
        return Run(actions, seconds, np.array(ends) - begin, energies.double().numpy())


def actions_as_array(actions: Tensor) -> Float32:
    """On the host."""
    return np.asarray(actions.float().cpu().numpy(), np.float32)
