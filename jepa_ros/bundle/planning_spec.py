"""The parts of `manifest.yaml` that say how to plan with the model: heads, cost terms, planner, calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, field_validator, model_validator

from jepa_ros.bundle.model_spec import MOST_ROWS, MOST_STEPS, StateTensor, Strict
from jepa_ros.bundle.token_mask import TokenMask, chosen_tokens

# A head's name is part of names in golden.npz and of `head:NAME`.
HeadName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


def check_inside(name: str) -> str:
    """A file's name, relative to the bundle's folder and within it, that can be shown as it is.

    Raises:
        ValueError: it is not.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or not path.parts or not name.isprintable():
        raise ValueError(f"{name!r} points outside the bundle's folder")
    return name


class Head(Strict):
    """A further graph on the first latent tensor.

    Attributes:
        file: of the graph, inside the bundle's folder.
        inputs: `latent` `[B, …]`, the first latent tensor; where it judges or acts by a goal also `goal` `[B, …]`, the
            same of the goal; for a policy also `noise` `[B, A]`, standard normal, of which zeros give its mean.
        output: name of what it gives: a `value` `[B]`, or a `policy`'s actions `[B, A]`, in the manifest's units.
        gradient: file, inside the bundle's folder, of a value's vector-Jacobian product by the latent: its inputs are
            the head's and `cotangent` `[B]`, its output `grad_latent` `[B, …]`. None where there is none.
    """

    # ONNX Runtime chooses its parser by the ending: only this one is read as what the loader has checked.
    file: str = Field(pattern=r"\.onnx$")
    inputs: list[Literal["latent", "goal", "noise"]] = Field(min_length=1)
    output: str
    kind: Literal["value", "policy"] = "value"
    gradient: str | None = Field(default=None, pattern=r"\.onnx$")

    @field_validator("file", "gradient")
    @classmethod
    def _stays_inside(cls, file: str | None) -> str | None:
        return None if file is None else check_inside(file)

    @model_validator(mode="after")
    def _inputs_are_of_its_kind(self) -> Head:
        if self.kind == "value" and "noise" in self.inputs:
            raise ValueError("a value head takes no noise")
        if self.gradient is not None and self.kind != "value":
            raise ValueError(f"a {self.kind} head has no gradient")
        return self


class Distance(NamedTuple):
    """What a cost term measures at one step; terms that differ in steps and weight alone share it. See `CostTerm`."""

    source: str
    metric: str
    reduction: str
    tokens: TokenMask | None


class CostTerm(Strict):
    """One term of the energy.

    Attributes:
        source: a state tensor's name, or `head:NAME`.
        metric: distance from the goal's tensor of that name; `value`: what the head, or a tensor of one element, says.
        reduction: over a tensor's elements.
        tokens: of the tensor that count, see `TokenMask`; the reduction is over their elements. None counts all.
        weight: of the term; negative where more is better.
        steps: `all`: mean over the plan's steps; `sum` of them; `last` alone.
        discount: γ; what is said after step h, from 0, counts γʰ times in `all` and `sum`, and γᴴ times in `last`.
    """

    source: str = "latent"
    metric: Literal["l2", "l1", "smooth_l1", "cosine", "value"] = "l2"
    reduction: Literal["mean", "sum"] = "mean"
    weight: float = 1.0
    steps: Literal["all", "sum", "last"] = "all"
    discount: float = Field(default=1.0, gt=0, le=1)
    tokens: TokenMask | None = None

    @property
    def distance(self) -> Distance:
        """What is measured at one step."""
        return Distance(self.source, self.metric, self.reduction, self.tokens)


class PlannerDefaults(Strict):
    """What the planner of this bundle is set to where nobody says otherwise; None leaves it to the planner.

    `policy_samples`: plans that the bundle's policy head proposes. What the others mean, `PlannerConfig` says.
    """

    name: Literal["cem", "icem", "mppi", "gradient", "hybrid"] = "cem"
    samples: int | None = Field(default=None, ge=1, le=MOST_ROWS)
    iterations: int | None = Field(default=None, ge=1, le=MOST_STEPS)
    elites: int | None = Field(default=None, ge=1, le=MOST_ROWS)
    horizon: int | None = Field(default=None, ge=1, le=MOST_STEPS)
    knot: int | None = Field(default=None, ge=1, le=MOST_STEPS)
    std: float | None = Field(default=None, gt=0)
    min_std: float | None = Field(default=None, ge=0)
    momentum: float | None = Field(default=None, ge=0, lt=1)
    temperature: float | None = Field(default=None, gt=0)
    policy_samples: int | None = Field(default=None, ge=1, le=MOST_ROWS)
    convergence: float | None = Field(default=None, ge=0)
    patience: int | None = Field(default=None, ge=1)
    beta: float | None = Field(default=None, ge=0)
    keep: float | None = Field(default=None, ge=0, le=1)
    learning_rate: float | None = Field(default=None, gt=0)
    optimizer: Literal["adam", "sgd"] | None = None
    descents: int | None = Field(default=None, ge=0, le=MOST_STEPS)


class Calibration(Strict):
    """Energy at which the goal is reached, surprise, and parity by provider and precision.

    `measured_on`: whether these energies come from recordings; `random` ones say nothing of a robot.
    `precision_error`: of each graph of a bundle below fp32, the largest relative error against the original model's
    outputs in golden.npz, on the CPU that converted it; `tolerance` has a margin over the worst of them.
    `derivative_tolerance`: of predictor_vjp.onnx and of heads' gradients where it is wider than `tolerance`: gradients
    through steep weights cannot be computed more exactly in fp32.
    """

    arrival_energy: float = Field(gt=0)
    surprise_p50: float = Field(ge=0)
    surprise_p99: float = Field(gt=0)
    tolerance: dict[str, float] = Field(default={"CPUExecutionProvider:fp32": 1e-4})
    precision_error: dict[str, float] = Field(default={})
    derivative_tolerance: float | None = Field(default=None, gt=0)
    measured_on: Literal["recordings", "random"] = "recordings"


def check_gradients(heads: Mapping[str, Head]) -> None:
    """That each gradient is a graph of its own: what it takes would else be asked of the graph it shares.

    Raises:
        ValueError: naming the file.
    """
    others = {head.file for head in heads.values()}
    for name, head in heads.items():
        if head.gradient in others:
            raise ValueError(f"heads: the gradient of {name} needs a file of its own, not {head.gradient}")
        others |= {head.gradient} if head.gradient else set()


def check_sources(terms: Sequence[CostTerm], state: Sequence[StateTensor], heads: Mapping[str, Head]) -> None:
    """That every cost term's source is there, and that its metric and its tokens fit it.

    Raises:
        ValueError: naming the term's source.
    """
    tensors = {tensor.name: tensor for tensor in state}
    known = {*tensors, *(f"head:{name}" for name, head in heads.items() if head.kind == "value")}
    for term in terms:
        if term.source not in known:
            raise ValueError(f"cost: source {term.source!r} is none of {', '.join(sorted(known))}")
        tensor = tensors.get(term.source)
        if term.metric == "value" and tensor is not None and tensor.shape != (1,):
            raise ValueError(f"cost: metric value needs a head or a tensor of one element, not {term.source}")
        if term.metric != "value" and (tensor is None or tensor.role == "outcome"):
            raise ValueError(f"cost: {term.source} has no goal to be distant from; its metric is value")
        check_tokens(term, tensor)


def check_tokens(term: CostTerm, tensor: StateTensor | None) -> None:
    """That the tokens of a term are some of its tensor's; None is a head.

    Raises:
        ValueError: naming the term's source.
    """
    if term.tokens is None:
        return
    if tensor is None or term.metric == "value":
        raise ValueError(f"cost: tokens are for distances of a tensor, and {term.source} is judged by metric value")
    try:
        chosen_tokens(term.tokens, tensor)
    except ValueError as error:
        raise ValueError(f"cost: {error}") from error
