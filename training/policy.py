"""A policy prior distilled from recorded plans; `jepa-export policy` trains it and puts it into a bundle.

Behaviour cloning of the planner (as the supervised step of guided policy search, Levine and Koltun 2013); TD-MPC2
(Hansen et al. 2024, section 3.2) seeds a planner's samples so. Each step of a plan is an example: from the latent
it begins at, toward the plan's goal, this action. What is learned is a normal distribution, by its likelihood.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from rich.progress import track
from torch import Tensor, nn

from jepa_ros.bundle.layout import StateLayout
from jepa_ros.bundle.loader import ENCODER, Bundle
from jepa_ros.bundle.manifest import Manifest
from jepa_ros.errors import JepaRosError
from jepa_ros.planning.problem import ActionBounds
from jepa_ros.planning.recorded import RecordedPlans

_LEAST_STD, _FIRST_STD = 0.01, 0.3


@dataclass(frozen=True)
class PolicyConfig:
    """Sizes, and the actions' bounds in SI units, `A` each."""

    latent: int
    low: tuple[float, ...]
    high: tuple[float, ...]
    width: int = 256


class Policy(nn.Module):
    """Latents `[B, …]`, goals `[B, …]` and noise `[B, A]` → actions `[B, A]` in SI units, always within the bounds.

    In units of half the range around its centre: tanh of what the layers say, which zeros as noise leave as it is, plus
    a learned standard deviation for each action value times the noise, cut off at the bounds.
    """

    centre: Tensor
    half_range: Tensor
    low: Tensor
    high: Tensor
    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        self.config = config
        low, high = torch.tensor(config.low), torch.tensor(config.high)
        for name, value in (
            ("low", low), ("high", high), ("centre", (low + high) / 2), ("half_range", (high - low) / 2),
            ("latent_mean", torch.zeros(config.latent)), ("latent_std", torch.ones(config.latent)),
        ):  # fmt: skip
            self.register_buffer(name, value)
        self.layers = nn.Sequential(
            nn.Linear(2 * config.latent, config.width),
            nn.SiLU(),
            nn.LayerNorm(config.width),
            nn.Linear(config.width, config.width),
            nn.SiLU(),
            nn.LayerNorm(config.width),
            nn.Linear(config.width, len(config.low)),
        )
        self.log_std = nn.Parameter(torch.full((len(config.low),), float(np.log(_FIRST_STD))))

    def standardise(self, latents: Tensor) -> None:
        """Fix what latents are scaled by, from examples `[N, D]`."""
        self.latent_mean.copy_(latents.mean(0))
        self.latent_std.copy_(latents.std(0).clamp_min(1e-6))

    def mean(self, latent: Tensor, goal: Tensor) -> Tensor:
        """In units of half the range, `[B, A]`."""
        scaled = [(part.flatten(1) - self.latent_mean) / self.latent_std for part in (latent, goal)]
        return torch.tanh(self.layers(torch.cat(scaled, 1)))

    def std(self) -> Tensor:
        """In units of half the range, `[A]`."""
        return self.log_std.exp().clamp_min(_LEAST_STD)

    def forward(self, latent: Tensor, goal: Tensor, noise: Tensor) -> Tensor:
        action = self.centre + self.half_range * (self.mean(latent, goal) + self.std() * noise)
        return torch.minimum(torch.maximum(action, self.low), self.high)


@dataclass(frozen=True)
class PolicyRecipe:
    """How to fit it: `hold_out` is the share of the plans, the last, that say when to stop: after `patience` epochs
    without a better likelihood of theirs."""

    epochs: int = 100
    batch: int = 512
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    hold_out: float = 0.1
    patience: int = 10
    seed: int = 0


@dataclass(frozen=True)
class Pairs:
    """Examples: latents `[N, D]` and goals `[N, D]` of the latent tensor, and actions `[N, A]` in SI units."""

    latents: Tensor
    goals: Tensor
    actions: Tensor

    def __len__(self) -> int:
        return len(self.latents)


def check_plans(plans: RecordedPlans, bundle: Bundle, where: str) -> None:
    """Refuse plans that are not this bundle's.

    Raises:
        JepaRosError: another encoder, sizes that differ, or actions out of the bounds.
    """
    manifest, size = bundle.manifest, StateLayout(bundle.manifest.state).size
    for name, found, wanted in (
        ("latents", plans.latents.shape[1], size),
        ("actions", plans.actions.shape[2], manifest.action_size),
    ):
        if found != wanted:
            raise JepaRosError(
                f"{where}: {name} of {found} values, bundle {bundle.path} has {wanted}; record plans with this bundle"
            )
    if plans.encoder != manifest.files[ENCODER]:
        raise JepaRosError(
            f"{where}: recorded with another encoder than that of bundle {bundle.path}, its latents mean something "
            "else; record plans with this bundle"
        )
    bounds = bounds_of(manifest)
    if (plans.actions < bounds.low).any() or (plans.actions > bounds.high).any():
        raise JepaRosError(f"{where}: actions are out of the bounds of bundle {bundle.path}; record plans with it")


def bounds_of(manifest: Manifest) -> ActionBounds:
    """Of the action of one model step."""
    action = manifest.action
    low = [action.fixed.get(name, value) for name, value in zip(action.names, action.low, strict=True)]
    high = [action.fixed.get(name, value) for name, value in zip(action.names, action.high, strict=True)]
    return ActionBounds(np.tile(low, action.block), np.tile(high, action.block), action.norm_limit, action.block)


def pairs_of(plans: RecordedPlans, layout: StateLayout, rows: slice = slice(None)) -> Pairs:
    """Each step of these plans: from where it begins (the plan's first latent, then what is predicted) its action."""
    name, horizon = layout.latent.name, plans.actions.shape[1]
    begins = np.concatenate([plans.latents[rows, None], plans.predicted[rows, :-1]], axis=1)
    goals = np.repeat(plans.goals[rows, None], horizon, axis=1)
    flat = (layout.part(part.reshape(-1, layout.size), name) for part in (begins, goals))
    actions = plans.actions[rows].reshape(-1, plans.actions.shape[2])
    return Pairs(*(torch.from_numpy(np.ascontiguousarray(part)) for part in (*flat, actions)))


def split(plans: Sequence[RecordedPlans], layout: StateLayout, share: float) -> tuple[Pairs, Pairs]:
    """Pairs to fit, and those held out: this share of the plans, the last, whose neighbours are held out like them.

    Raises:
        JepaRosError: too few plans for both.
    """
    kept, apart, total = [], [], sum(len(found) for found in plans)
    left = total - round(share * total)
    for found in plans:
        kept.append(pairs_of(found, layout, slice(left)))
        apart.append(pairs_of(found, layout, slice(left, None)))
        left = max(left - len(found), 0)
    fitted, held_out = (
        Pairs(*(torch.cat([getattr(part, name) for part in parts]) for name in ("latents", "goals", "actions")))
        for parts in (kept, apart)
    )
    if not len(held_out) or len(fitted) < 2:
        raise JepaRosError(f"plans: {total} are too few to hold {share:.0%} of them out; record more")
    return fitted, held_out


def surprise_of(policy: Policy, pairs: Pairs, rows: Tensor | slice = slice(None)) -> Tensor:
    """Mean negative log-likelihood of the actions, but for a constant; what is minimised. Fixed values do not enter."""
    half = policy.half_range
    wanted = (pairs.actions[rows] - policy.centre) / torch.where(half > 0, half, 1.0)
    off = (wanted - policy.mean(pairs.latents[rows], pairs.goals[rows])) / policy.std()
    return (0.5 * off**2 + policy.std().log())[:, half > 0].mean()


def fit_policy(
    fitted: Pairs, held_out: Pairs, config: PolicyConfig, recipe: PolicyRecipe, progress: bool = False
) -> Policy:
    """Fit it; returns the epoch that says most of the plans held out.

    Raises:
        JepaRosError: the loss is not finite.
    """
    torch.manual_seed(recipe.seed)
    policy = Policy(config)
    policy.standardise(torch.cat([fitted.latents, fitted.goals]))
    optimiser = torch.optim.AdamW(policy.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    best, lowest, waited = deepcopy(policy.state_dict()), float("inf"), 0
    for epoch in track(range(recipe.epochs), "fitting the policy", disable=not progress):
        policy.train()
        for rows in torch.randperm(len(fitted)).split(recipe.batch):
            loss = surprise_of(policy, fitted, rows)
            if not torch.isfinite(loss):
                raise JepaRosError(f"policy: the loss is not finite in epoch {epoch}; lower --learning-rate")
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
        with torch.inference_mode():
            found = float(surprise_of(policy.eval(), held_out))
        if found < lowest:
            best, lowest, waited = deepcopy(policy.state_dict()), found, 0
        else:
            waited += 1
        if waited >= recipe.patience:
            break
    policy.load_state_dict(best)
    return policy.eval()


def errors_of(policy: Policy, fitted: Pairs, held_out: Pairs) -> tuple[float, float]:
    """Root mean square error on the plans held out, in half ranges: of the policy's mean, and of always doing the mean
    action of the plans fitted."""
    half = policy.half_range
    moved, scale = half > 0, torch.where(half > 0, half, 1.0)
    with torch.inference_mode():
        said = policy.centre + half * policy.mean(held_out.latents, held_out.goals)
    off = ((held_out.actions - said) / scale)[:, moved]
    constant = ((held_out.actions - fitted.actions.mean(0)) / scale)[:, moved]
    return float(off.square().mean().sqrt()), float(constant.square().mean().sqrt())
