"""The layout of feature rows: what a model must know of its use case to read them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Self

from pydantic import BaseModel, ConfigDict

from dualcast.catalogue import Path_, UseCase
from dualcast.features.plan import FeaturePlan
from dualcast.features.special_days import FIRST_NAMED

# Feature functions whose values are codes, with how many there are: linear models have a coefficient for each code.
_CODES = {"weekday": 7, "day_type": 3, "special_day": FIRST_NAMED}
DAY_SECONDS = 86400


class Layout(BaseModel):
    """How the feature rows of one path of a use case are read by a model.

    levels: features in the unit of the target, which are divided by the feature ``scale``
    codes: features whose values are codes, with how many codes there are
    readers: variable -> features that read it; at_target: the same, but only its value at the target itself
    anchor: the feature that holds the newest measured value of the target, where there is one
    reference_anchor: the feature that holds the reference forecast of the same interval, where there is one
    day_type: the feature that tells workdays, Saturdays and Sundays apart, where there is one
    active: the feature that is 0 where the target is 0 by plan, such as closed days, where there is one
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path_
    features: tuple[str, ...]
    levels: tuple[str, ...]
    scale: str | None
    codes: dict[str, int]
    readers: dict[str, tuple[str, ...]]
    at_target: dict[str, tuple[str, ...]]
    anchor: str | None
    day_type: str | None
    reference: str | None
    reference_anchor: str | None = None
    optional: tuple[str, ...]
    active: str | None = None
    entities: tuple[str, ...]
    step_seconds: int
    horizons: int

    @classmethod
    def of(cls, use_case: UseCase, path: Path_) -> Self:
        """The layout of a use case as the catalogue has it now."""
        plan = FeaturePlan.of(use_case, path)
        part = use_case.part(path)
        functions = {name: spec.function for name, spec in plan.specs.items()}
        kinds = max(len(entity.holidays.kinds) for entity in use_case.entities)
        readers = {v: tuple(n for n, s in plan.specs.items() if v in s.variables()) for v in plan.variables}
        return cls(
            path=path,
            features=tuple(plan.names),
            levels=tuple(plan.levels),
            scale=plan.scale,
            codes={n: _CODES[f] + (kinds if f == "special_day" else 0) for n, f in functions.items() if f in _CODES},
            readers=readers,
            at_target={v: tuple(n for n in names if functions[n] == "value") for v, names in readers.items()},
            anchor=_newest(plan, plan.target),
            day_type=next((n for n, f in functions.items() if f == "day_type"), None),
            active=_active(plan, use_case),
            reference=use_case.reference if use_case.reference in readers else None,
            reference_anchor=_newest(plan, use_case.reference),
            optional=tuple(v for v in part.optional if v in readers),
            entities=tuple(e.id for e in use_case.entities),
            step_seconds=plan.step,
            horizons=use_case.part("intraday").horizons if path == "intraday" else 1,
        )

    @property
    def slots_per_day(self) -> int:
        """The number of intervals in a day of 24 hours."""
        return max(DAY_SECONDS // self.step_seconds, 1)

    @cached_property
    def column(self) -> dict[str, int]:
        """Feature -> its column."""
        return {name: i for i, name in enumerate(self.features)}

    @property
    def reference_at_target(self) -> str | None:
        """The feature that is the reference forecast at the target, where it is in the target's unit."""
        names = self.at_target.get(self.reference or "", ())
        return next((n for n in names if n in self.levels), None)

    def columns(self, names: Sequence[str]) -> list[int]:
        """The columns of some features, in order."""
        return [self.column[name] for name in names]


def _active(plan: FeaturePlan, use_case: UseCase) -> str | None:
    variable = use_case.active
    return next((n for n, s in plan.specs.items() if variable and s.reads_at_target(variable)), None)


def _newest(plan: FeaturePlan, variable: str | None) -> str | None:
    """The feature that is a variable's value just before the origin."""
    for name, spec in plan.specs.items():
        if spec.function == "recent" and spec.arguments() == {"variable": variable}:
            return name
    return None
