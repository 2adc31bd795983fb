"""Public planners on the same dynamics and cost, called as their own documentation says: torch-world's CEM and
pytorch_mppi. They return a mean, which they have not scored; the energy shown is that of what they return, and the time
to the reference is when they first scored a candidate that is as good."""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import Tensor

from jepa_ros.errors import JepaRosError
from jepa_ros.planning.config import PlannerConfig
from jepa_ros_benchmarks.plan_figures import Run
from jepa_ros_benchmarks.plan_problems import Case
from jepa_ros_benchmarks.plan_torch import TorchWorld, actions_as_array, tensors_of

HOW_TO_INSTALL = {
    "torch-world": "pip install --no-deps torch-world==0.2.0 (its own requirements are a large stack that is not used)",
    "pytorch_mppi": "pip install pytorch-mppi==0.9.1",
}
_NO_NOISE = 1e-8  # variance of an action that is fixed; theirs must not be zero


class _Scores:
    """The best energy so far after each iteration, and when."""

    def __init__(self) -> None:
        self._begin, self._best = time.perf_counter(), float("inf")
        self.ends: list[float] = []
        self.energies: list[float] = []

    def add(self, energy: Tensor) -> None:
        self._best = min(self._best, float(energy.min()))
        self.ends.append(time.perf_counter() - self._begin)
        self.energies.append(self._best)

    def run(self, actions: Tensor) -> Run:
        """What was planned, now."""
        sent = actions_as_array(actions)
        return Run(sent, time.perf_counter() - self._begin, np.array(self.ends), np.array(self.energies))


class TorchWorldCEM:
    """torch-world's `CEM` over actions scaled to −1…1; it has no warm start, and no noise held over steps.

    Raises:
        JepaRosError: it is not installed; says how to.
    """

    def __init__(self, world: TorchWorld, config: PlannerConfig, threads: int | None, seed: int) -> None:
        try:
            from torch_world.models.base import WorldModel
            from torch_world.planning.cem import CEM
        except ImportError as error:
            raise JepaRosError(f"torch-world is not installed: {HOW_TO_INSTALL['torch-world']}") from error
        middle, half = (world.low + world.high) / 2, (world.high - world.low) / 2
        scale = torch.where(half > 0, half, 1.0)

        class Model(WorldModel):
            """`TorchWorld` as torch-world's protocol wants it."""

            history = world.context
            goal = middle
            scores = _Scores()

            def predict(self, z: Tensor, actions: Tensor) -> Tensor:
                return world.step(z, middle + half * actions)[:, None]

            def cost(self, z: Tensor, goal: Tensor) -> Tensor:
                energy = world.energy(z[:, -config.horizon :], self.goal)
                self.scores.add(energy)
                return energy

        self._threads, self._seed = threads, seed
        self._unscaled, self._scaled = lambda a: middle + half * a, lambda a: (a - middle) / scale
        self._model, self._device = Model(), world.low.device
        self._planner = CEM(
            horizon=config.horizon,
            action_dim=len(middle),
            num_samples=config.samples,
            num_elites=config.elites,
            iterations=config.iterations,
            std=config.std,
            bounds=(-1.0, 1.0),
        )

    @torch.inference_mode()
    def __call__(self, case: Case) -> Run:
        _set_threads(self._threads)
        latents, past, goal = tensors_of(case, self._device)
        generator = torch.Generator(self._device).manual_seed(self._seed + case.number)
        self._model.goal, self._model.scores = goal, _Scores()
        mean = self._planner(self._model, latents[None], goal[None], self._scaled(past)[None], generator)
        return self._model.scores.run(self._unscaled(mean[0]))


class PytorchMPPI:
    """pytorch_mppi's `MPPI`, refined so many times from the same state. Its state is one vector: the latents and
    actions of the history and of the steps to come, filled in step by step.

    Raises:
        JepaRosError: it is not installed; says how to.
    """

    def __init__(self, world: TorchWorld, config: PlannerConfig, threads: int | None, seed: int) -> None:
        try:
            from pytorch_mppi import MPPI
        except ImportError as error:
            raise JepaRosError(f"pytorch_mppi is not installed: {HOW_TO_INSTALL['pytorch_mppi']}") from error
        self._make, self._world, self._config, self._threads, self._seed = MPPI, world, config, threads, seed
        self._planners: dict[tuple[int, ...], object] = {}
        self._goal, self._energies, self._scores = world.low, world.low, _Scores()

    @torch.inference_mode()
    def __call__(self, case: Case) -> Run:
        _set_threads(self._threads)
        world, config = self._world, self._config
        latents, past, self._goal = tensors_of(case, world.low.device)
        if latents.shape not in self._planners:
            self._planners[latents.shape] = self._planner(*latents.shape)
        planner = self._planners[latents.shape]
        torch.manual_seed(self._seed + case.number)
        self._scores = _Scores()
        planner.U = world.rest.expand(config.horizon, -1).clone()
        # The latents of all steps, then the actions of all steps; a row of zeros for each that is to come.
        coming = [array.new_zeros(config.horizon, array.shape[1]) for array in (latents, past)]
        state = torch.cat([latents, coming[0]]).flatten(), torch.cat([past, coming[1]]).flatten()
        for _ in range(config.iterations):
            planner.command(torch.cat(state), shift_nominal_trajectory=False)
            self._scores.add(self._energies)
        return self._scores.run(planner.get_action_sequence())

    def _planner(self, known: int, size: int):
        world, config, width = self._world, self._config, len(self._world.low)
        total = known + config.horizon
        cut = total * size

        def parts(state: Tensor) -> tuple[Tensor, Tensor]:
            rows = len(state)
            return state[:, :cut].view(rows, total, size), state[:, cut:].view(rows, total - 1, width)

        def dynamics(state: Tensor, action: Tensor, t: int) -> Tensor:
            state = state.clone()
            latents, actions = parts(state)
            actions[:, known - 1 + t] = action
            latents[:, known + t] = world.step(latents[:, : known + t], actions[:, : known + t])
            return state

        def cost(state: Tensor, _action: Tensor, t: int) -> Tensor:
            if t < config.horizon - 1:
                return state.new_zeros(len(state))
            self._energies = world.energy(parts(state)[0][:, known:], self._goal)
            return self._energies

        half = (world.high - world.low) / 2
        return self._make(
            dynamics,
            cost,
            nx=cut + (total - 1) * width,
            noise_sigma=torch.diag((config.std * half).square().clamp(min=_NO_NOISE)),
            num_samples=config.samples,
            horizon=config.horizon,
            device=world.low.device,
            lambda_=config.temperature,
            u_min=world.low,
            u_max=world.high,
            U_init=world.rest.expand(config.horizon, -1).clone(),
            step_dependent_dynamics=True,
        )


def _set_threads(threads: int | None) -> None:
    if threads is not None:
        torch.set_num_threads(threads)


PUBLIC = {"torch-world": ("cem", TorchWorldCEM), "pytorch_mppi": ("mppi", PytorchMPPI)}
