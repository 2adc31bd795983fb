"""Goal energies: how far imagined latents are from the goal's latent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from jepa_ros.bundle.manifest import CostTerm
from jepa_ros.errors import PlanningError
from jepa_ros.types import Float32

_HEAD = "head:"


@runtime_checkable
class HeadedModel(Protocol):
    """A world model with learned heads on its latents."""

    def head(self, name: str, latents: Float32, goal: Float32) -> Float32:
        """Latents `[B, D]`, goal `[D]` → value `[B]`."""
        ...


class GoalObjective:
    """Weighted sum of the manifest's cost terms toward one goal latent.

    A term on the latent is a distance over its elements, their mean or sum: "l2" is *squared*, "smooth_l1" is quadratic
    below 1, "cosine" is 1 - cosine. A term on a head is the head's output as it is. `steps`: "all" is the mean over the
    horizon, "last" its last step.

    Args:
        model: The world model; needs `head` where a term's source is a head.
        goal: `[D]` the goal's latent.
        terms: At least one.
        latent_name: What the terms call the latent.

    Raises:
        PlanningError: A goal that is not a finite vector, no terms, or a term that fits neither itself nor the model.
    """

    def __init__(self, model: object, goal: Float32, terms: Sequence[CostTerm], latent_name: str = "latent") -> None:
        self.goal: Float32 = np.asarray(goal, dtype=np.float32)
        if self.goal.ndim != 1 or not np.isfinite(self.goal).all():
            raise PlanningError(f"the goal latent must be a finite vector [D], got shape {self.goal.shape}")
        if not terms:
            raise PlanningError("the bundle's manifest has no cost terms: add at least one to 'cost'")
        for term in terms:
            _check(term, model, latent_name)
        self._heads = model if isinstance(model, HeadedModel) else None
        self._terms = tuple(terms)
        self._goal_norm = np.float32(np.linalg.norm(self.goal))
        self._difference: Float32 = np.zeros((0, 0, 0), dtype=np.float32)

    def __call__(self, latents: Float32, actions: Float32) -> Float32:
        """Latents `[B, H, D]` → energy `[B]`; the actions do not enter."""
        energy = np.zeros(len(latents), dtype=np.float32)
        distances: dict[tuple[str, str, str], Float32] = {}
        whole = {_kind(term) for term in self._terms if term.steps == "all"}
        for term in self._terms:
            kind = _kind(term)
            if kind not in distances:
                distances[kind] = self._distance(latents if kind in whole else latents[:, -1:], term)
            distance = distances[kind]
            energy += np.float32(term.weight) * (distance.mean(axis=1) if term.steps == "all" else distance[:, -1])
        return energy

    def arrival_energy(self, latent: Float32) -> float:
        """Goal distance of one latent `[D]`: the first cost term, unweighted. Unit of `calibration.arrival_energy`."""
        return float(self._distance(latent[None, None], self._terms[0])[0, 0])

    def _distance(self, latents: Float32, term: CostTerm) -> Float32:
        """`[B, H, D]` → `[B, H]`."""
        count, steps, size = latents.shape
        if size != self.goal.size:
            raise PlanningError(f"the goal latent has {self.goal.size} elements, the model's latents have {size}")
        if self._heads is not None and term.source.startswith(_HEAD):
            name = term.source[len(_HEAD) :]
            flat = np.ascontiguousarray(latents.reshape(count * steps, size))
            return self._heads.head(name, flat, self.goal).reshape(count, steps)
        if term.metric == "cosine":
            scale = np.linalg.norm(latents, axis=2) * self._goal_norm
            return np.asarray(1 - latents @ self.goal / np.maximum(scale, np.float32(1e-12)), dtype=np.float32)
        if self._difference.shape != latents.shape:
            self._difference = np.empty(latents.shape, dtype=np.float32)
        difference = np.subtract(latents, self.goal, out=self._difference)
        if term.metric == "l2":
            distance: Float32 = np.einsum("bhd,bhd->bh", difference, difference)
        else:
            np.abs(difference, out=difference)
            if term.metric == "smooth_l1":
                capped = np.minimum(difference, np.float32(1))
                difference = capped * (difference - capped / 2)
            distance = difference.sum(axis=2)
        if term.reduction == "mean":
            distance /= np.float32(size)
        return distance


def _kind(term: CostTerm) -> tuple[str, str, str]:
    """What makes two terms share one distance."""
    return term.source, term.metric, term.reduction


def _check(term: CostTerm, model: object, latent_name: str) -> None:
    head = term.source.startswith(_HEAD)
    if not head and term.source != latent_name:
        raise PlanningError(f"cost term: source '{term.source}' must be '{latent_name}' or 'head:NAME'")
    if head != (term.metric == "value"):
        raise PlanningError(f"cost term on '{term.source}': metric 'value' is for heads, and heads take no other")
    if head and not isinstance(model, HeadedModel):
        raise PlanningError(f"cost term on '{term.source}': this model has no heads")
