"""Which parts of a plan graph an objective and its constraints are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jepa_ros.errors import PlanningError
from jepa_ros.guardrails import ActionChange, ActionMagnitude, HeadLimit, KeepAway, Penalty, Sum
from jepa_ros.planning.compiled.limits import ChangeTerm, HeadLimitTerm, KeepAwayTerm, MagnitudeTerm, PenaltyTerm
from jepa_ros.planning.compiled.terms import GoalTerm, Term
from jepa_ros.planning.cost import GoalObjective
from jepa_ros.protocols import Objective

TermMaker = Callable[[Any, int], list[Term]]

_MAKERS: dict[type, TermMaker] = {
    GoalObjective: lambda goal, _: [GoalTerm(goal.terms, goal.goal)],
    ActionMagnitude: lambda guardrail, size: [MagnitudeTerm(guardrail, size)],
    ActionChange: lambda guardrail, size: [ChangeTerm(guardrail, size)],
    KeepAway: lambda guardrail, _: [KeepAwayTerm(guardrail)],
    HeadLimit: lambda guardrail, _: [HeadLimitTerm(guardrail)],
    Penalty: lambda penalty, size: [PenaltyTerm(penalty, term) for term in terms_of(penalty.guardrail, size)],
    Sum: lambda total, size: [term for part in total.parts for term in terms_of(part, size)],
}


def register(kind: type, maker: TermMaker) -> None:
    """Let plan graphs have objectives of a class of one's own.

    Args:
        kind: the class itself; a class derived from one that is known computes something else.
        maker: (objective, A) → its terms, whose energies are added.
    """
    _MAKERS[kind] = maker


def terms_of(objective: Objective, size: int) -> list[Term]:
    """The terms that an objective is the sum of.

    Args:
        objective: the energy, or one constraint.
        size: A, values of an action.

    Raises:
        PlanningError: a class that nobody has registered.
    """
    maker = _MAKERS.get(type(objective))
    if maker is None:
        known = ", ".join(sorted(kind.__name__ for kind in _MAKERS))
        raise PlanningError(
            f"{type(objective).__name__} has no graph, so no plan graph can hold it: use {known}, register yours with "
            "jepa_ros.planning.compiled.objectives.register, or plan with engine numpy"
        )
    return maker(objective, size)
