"""Feature functions by name, and how a use case calls one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, model_validator

from dualcast.timegrid import duration

Floats = NDArray[np.float64]
Shape = Literal["origin", "target"]
_Call = Callable[..., Floats]


@dataclass(frozen=True)
class FeatureFunction:
    """A pure function of a window.

    ``shape`` says whether it yields one value for each origin, (n, 1), or one for each target, (n, horizons).
    ``level`` says that its values are in the unit of its first variable, so that a model may scale them; ``by_slot``
    that it looks at each target by itself, and at the origin only by what that hides.
    """

    name: str
    call: _Call
    shape: Shape
    level: bool
    by_slot: bool

    @cached_property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """What a use case may pass, without the window."""
        return dict(list(inspect.signature(self.call).parameters.items())[1:])


FUNCTIONS: dict[str, FeatureFunction] = {}


def feature(shape: Shape, *, level: bool, by_slot: bool = False) -> Callable[[_Call], _Call]:
    """Enter a function into the catalogue under its own name."""

    def enter(call: _Call) -> _Call:
        name = call.__name__
        if name in FUNCTIONS:
            raise ValueError(f"feature function {name!r} is defined twice")
        FUNCTIONS[name] = FeatureFunction(name, call, shape, level, by_slot)
        return call

    return enter


class FeatureSpec(BaseModel):
    """One feature of a use case: a function and its arguments; durations are written as ISO 8601."""

    model_config = ConfigDict(extra="allow", frozen=True)

    function: str

    @model_validator(mode="after")
    def _fits_function(self) -> Self:
        if self.function not in FUNCTIONS:
            raise ValueError(f"unknown function {self.function!r}; known: {', '.join(sorted(FUNCTIONS))}")
        parameters = self.definition.parameters
        given = self.model_extra or {}
        unknown = sorted(set(given) - set(parameters))
        missing = sorted(n for n, p in parameters.items() if p.default is p.empty and n not in given)
        if unknown or missing:
            raise ValueError(f"{self.function!r} takes {', '.join(parameters)}; unknown {unknown}, missing {missing}")
        self.arguments()
        return self

    @property
    def definition(self) -> FeatureFunction:
        """The function that this feature calls."""
        return FUNCTIONS[self.function]

    def arguments(self) -> dict[str, Any]:
        """The arguments, durations parsed. Raises ValueError where one is not of its parameter's type."""
        return self._parsed_arguments

    @cached_property
    def _parsed_arguments(self) -> dict[str, Any]:
        given = self.model_extra or {}
        return {n: _parsed(n, v, str(self.definition.parameters[n].annotation)) for n, v in given.items()}

    def reads_at_target(self, variable: str) -> bool:
        """Whether this is just the value of a variable at the target."""
        return self.function == "value" and self.arguments() == {"variable": variable}

    def variables(self) -> Iterable[str]:
        """The variables that this feature reads."""
        given = self.model_extra or {}
        return [str(given[n]) for n, p in self.definition.parameters.items() if p.annotation == "str" and n in given]


def _parsed(name: str, value: Any, annotation: str) -> Any:
    if annotation == "timedelta":
        return duration(str(value))
    types: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,)}
    if not isinstance(value, types[annotation]):
        raise ValueError(f"{name}={value!r} is not of type {annotation}")  # noqa: TRY004 -- pydantic wants ValueErrors
    return value
