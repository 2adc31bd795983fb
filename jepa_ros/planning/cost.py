"""Goal energies: how far imagined latents are from the goal's latent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from jepa_ros.bundle.layout import StateLayout
from jepa_ros.bundle.manifest import CostTerm, Manifest, StateTensor
from jepa_ros.bundle.planning_spec import Distance, check_tokens
from jepa_ros.errors import PlanningError
from jepa_ros.protocols import HeadedModel, HeadGradientModel
from jepa_ros.types import Float32

_HEAD = "head:"
_LEAST_SCALE = np.float32(1e-12)  # of the two lengths that a cosine divides by


class GoalObjective:
    """Weighted sum of the manifest's cost terms toward one goal latent.

    A term on a tensor of the state is a distance over its elements, or those of some of its tokens, their mean or sum:
    "l2" is *squared*, "smooth_l1" is quadratic below 1, "cosine" is 1 - cosine. "value" is what a head, or a tensor of
    one element such as a reward, says as it is. `steps`: "all" is the mean over the horizon, "sum" the sum, "last" its
    last step; see `CostTerm`.

    Args:
        model: The world model; needs `head` where a term's source is a head.
        goal: `[D]` the goal's latent.
        terms: At least one.
        layout: Of the latent; None is one latent vector named "latent".
        arrival: The distance by which arrival is judged; None takes the first term.

    Raises:
        PlanningError: A goal that is not a finite vector, no terms, or a term that fits neither itself nor the model.
    """

    def __init__(
        self,
        model: object,
        goal: Float32,
        terms: Sequence[CostTerm],
        layout: StateLayout | None = None,
        arrival: CostTerm | None = None,
    ) -> None:
        self.goal: Float32 = np.asarray(goal, dtype=np.float32)
        if self.goal.ndim != 1 or not np.isfinite(self.goal).all():
            raise PlanningError(f"the goal latent must be a finite vector [D], got shape {self.goal.shape}")
        if not terms:
            raise PlanningError("the bundle's manifest has no cost terms: add at least one to 'cost'")
        self._layout = layout or StateLayout([StateTensor(name="latent", kind="vector", shape=(self.goal.size,))])
        if self.goal.size != self._layout.size:
            raise PlanningError(f"the goal latent has {self.goal.size} elements, the model's {self._layout.size}")
        self._arrival = arrival or terms[0]
        self._columns: dict[Distance, slice | NDArray[np.intp]] = {}
        for term in (*terms, self._arrival):
            _check(term, model, self._layout)
            if not term.source.startswith(_HEAD):
                self._columns[term.distance] = self._layout.columns(term.source, term.tokens)
        self._heads = model if isinstance(model, HeadedModel) else None
        self.terms = tuple(terms)
        self._difference: dict[tuple[int, ...], Float32] = {}

    def __call__(self, latents: Float32, actions: Float32) -> Float32:
        """Latents `[B, H, D]` → energy `[B]`; the actions do not enter."""
        energy = np.zeros(len(latents), dtype=np.float32)
        distances: dict[Distance, Float32] = {}
        whole = {term.distance for term in self.terms if term.steps != "last"}
        for term in self.terms:
            kind = term.distance
            if kind not in distances:
                distances[kind] = self._distance(latents if kind in whole else latents[:, -1:], term)
            energy += np.float32(term.weight) * _over_steps(distances[kind], term, latents.shape[1])
        return energy

    def gradient(self, latents: Float32, actions: Float32) -> tuple[Float32, Float32]:
        """d energy / d latents `[B, H, D]`, and zeros `[B, H, A]`; see `Differentiable`.

        Where "l1" has a kink and where "cosine" is held from dividing by zero, a term's gradient is zero.

        Raises:
            PlanningError: A head of the cost that cannot be followed backward.
        """
        found = np.zeros(latents.shape, np.float32)
        for term in self.terms:
            shares = np.float32(term.weight) * _shares(term, latents.shape[1])
            begin = latents.shape[1] - len(shares)
            slope = self._slope(latents[:, begin:], term, shares)
            found[:, begin:, self._columns.get(term.distance, slice(None))] += slope
        return found, np.zeros(actions.shape, np.float32)

    def arrival_energy(self, latent: Float32) -> float:
        """Goal distance of one latent `[D]`, unweighted. Unit of `calibration.arrival_energy`."""
        return float(self._distance(latent[None, None], self._arrival)[0, 0])

    def _distance(self, latents: Float32, term: CostTerm) -> Float32:
        """`[B, H, D]` → `[B, H]`."""
        count, steps, size = latents.shape
        if size != self.goal.size:
            raise PlanningError(f"the goal latent has {self.goal.size} elements, the model's latents have {size}")
        if self._heads is not None and term.source.startswith(_HEAD):
            flat = np.ascontiguousarray(latents.reshape(count * steps, size))
            return self._heads.head(term.source[len(_HEAD) :], flat, self.goal).reshape(count, steps)
        columns = self._columns[term.distance]
        latents, goal = latents[..., columns], self.goal[columns]
        if term.metric == "value":
            return latents[..., 0]
        if term.metric == "cosine":
            scale = np.linalg.norm(latents, axis=2) * np.float32(np.linalg.norm(goal))
            return np.asarray(1 - latents @ goal / np.maximum(scale, _LEAST_SCALE), dtype=np.float32)
        if latents.shape not in self._difference:
            self._difference[latents.shape] = np.empty(latents.shape, dtype=np.float32)
        difference = np.subtract(latents, goal, out=self._difference[latents.shape])
        if term.metric == "l2":
            distance: Float32 = np.einsum("bhd,bhd->bh", difference, difference)
        else:
            np.abs(difference, out=difference)
            if term.metric == "smooth_l1":
                capped = np.minimum(difference, np.float32(1))
                difference = capped * (difference - capped / 2)
            distance = difference.sum(axis=2)
        if term.reduction == "mean":
            distance /= np.float32(goal.size)
        return distance

    def _slope(self, latents: Float32, term: CostTerm, shares: Float32) -> Float32:
        """What `_distance` of latents `[B, h, D]` changes by with the elements it is over, weighed by `shares` `[h]` of
        its steps → `[B, h, elements]`."""
        count, steps, size = latents.shape
        if term.source.startswith(_HEAD):
            if not isinstance(self._heads, HeadGradientModel):
                raise PlanningError(f"cost term on '{term.source}': this model's heads have no gradients")
            flat = np.ascontiguousarray(latents.reshape(count * steps, size))
            name, cotangent = term.source[len(_HEAD) :], np.tile(shares, count)
            return self._heads.head_gradient(name, flat, self.goal, cotangent).reshape(latents.shape)
        columns = self._columns[term.distance]
        latents, goal = latents[..., columns], self.goal[columns]
        shares = shares[:, None]
        if term.metric == "value":
            return np.broadcast_to(shares, latents.shape)
        if term.metric == "cosine":
            return shares * _cosine_slope(latents, goal)
        if term.reduction == "mean":
            shares = shares / np.float32(goal.size)
        difference = latents - goal
        if term.metric == "l2":
            slope = 2 * difference
        elif term.metric == "l1":
            slope = np.sign(difference)
        else:
            slope = np.clip(difference, -1, 1)
        return np.asarray(shares * slope, np.float32)


def _cosine_slope(latents: Float32, goal: Float32) -> Float32:
    """d (1 − cosine) / d latents `[B, h, n]`."""
    length, width = np.linalg.norm(latents, axis=2, keepdims=True), np.float32(np.linalg.norm(goal))
    scale = length * width
    held = scale <= _LEAST_SCALE
    scale = np.where(held, 1, scale)
    along = (latents @ goal)[..., None] / scale / np.where(held, 1, np.square(length))
    return np.asarray(np.where(held, 0, along * latents - goal / scale), np.float32)


def arrival_term(manifest: Manifest) -> CostTerm:
    """The first cost term that says how far the goal is; where none does, a distance of the latent tensor."""
    for term in manifest.cost:
        if term.metric != "value":
            return term
        head = manifest.heads.get(term.source.removeprefix(_HEAD))
        if head is not None and "goal" in head.inputs:
            return term
    return CostTerm(source=manifest.latent.name)


def _over_steps(distance: Float32, term: CostTerm, horizon: int) -> Float32:
    """`[B, H]`, or its last step `[B, 1]`, of which each step counts by the discount → `[B]`."""
    if term.steps == "last":
        return distance[:, -1] if term.discount == 1 else distance[:, -1] * np.float32(term.discount**horizon)
    if term.discount != 1:
        distance = distance * np.power(np.float32(term.discount), np.arange(horizon, dtype=np.float32))
    return np.asarray(distance.mean(axis=1) if term.steps == "all" else distance.sum(axis=1), np.float32)


def _shares(term: CostTerm, horizon: int) -> Float32:
    """How much each step counts in `_over_steps`: `[H]`, or `[1]` where only the last does."""
    if term.steps == "last":
        return np.array([term.discount**horizon], np.float32)
    shares = np.power(np.float32(term.discount), np.arange(horizon, dtype=np.float32))
    return np.asarray(shares / np.float32(horizon) if term.steps == "all" else shares, np.float32)


def _check(term: CostTerm, model: object, layout: StateLayout) -> None:
    head = term.source.startswith(_HEAD)
    if not head and term.source not in layout:
        names = ", ".join(f"'{tensor.name}'" for tensor in layout.all)
        raise PlanningError(f"cost term: source '{term.source}' must be {names} or 'head:NAME'")
    value = head or layout.part(np.zeros(layout.size, np.float32), term.source).size == 1
    if (head and term.metric != "value") or (term.metric == "value" and not value):
        raise PlanningError(f"cost term on '{term.source}': metric 'value' is for heads, and heads take no other")
    if head and not isinstance(model, HeadedModel):
        raise PlanningError(f"cost term on '{term.source}': this model has no heads")
    try:
        check_tokens(term, None if head else layout.tensor(term.source))
    except ValueError as error:
        raise PlanningError(str(error)) from error
