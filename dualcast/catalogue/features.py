"""Feature functions by name, and the features of a use case: a function and its arguments each.

The functions live in ``dualcast.features.families``, which stands above the catalogue and registers them here.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import import_module
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

from dualcast.arrays import Floats
from dualcast.timegrid import duration

Shape = Literal["origin", "target"]
_Call = Callable[..., Floats]


@dataclass(frozen=True)
class FeatureFunction:
    """A pure function of a window.

    shape: ``origin``: one value for each origin, (n, 1); ``target``: one for each target, (n, horizons)
    level: whether the values are in the unit of the first variable, so that a model may scale them
    by_slot: whether the value of a target depends on its slot alone, apart from what its origin hides
    """

    name: str
    call: _Call
    shape: Shape
    level: bool
    by_slot: bool

    @cached_property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """The parameters that a use case may set: all but the window."""
        return dict(list(inspect.signature(self.call).parameters.items())[1:])


_registered: dict[str, FeatureFunction] = {}


def feature(shape: Shape, *, level: bool, by_slot: bool = False) -> Callable[[_Call], _Call]:
    """Register a function under its own name. Raises ValueError where the name is taken."""

    def register(call: _Call) -> _Call:
        name = call.__name__
        if name in _registered:
            raise ValueError(f"feature function {name!r} is defined twice")
        _registered[name] = FeatureFunction(name, call, shape, level, by_slot)
        return call

    return register


@cache
def functions() -> Mapping[str, FeatureFunction]:
    """Every feature function by name."""
    # imported by name, since the catalogue must not import the features, which import the catalogue
    import_module("dualcast.features")
    return _registered


class FeatureSpec(BaseModel):
    """One feature of a use case: a function and its arguments; durations are written as ISO 8601."""

    model_config = ConfigDict(extra="allow", frozen=True)

    function: str

    @model_validator(mode="after")
    def _fits_function(self) -> Self:
        if self.function not in functions():
            raise ValueError(f"unknown function {self.function!r}; known: {', '.join(sorted(functions()))}")
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
        return functions()[self.function]

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


PLACEHOLDER = re.compile(r"\{(\w+)\}")


def _expanded(features: Any) -> Any:
    """``lag_{by}: {by: [P1D, P2D]}`` as ``lag_1d`` and ``lag_2d``."""
    if not isinstance(features, dict):
        return features
    out: dict[str, Any] = {}
    for name, spec in features.items():
        argument = PLACEHOLDER.search(str(name))
        values = spec.get(argument[1]) if argument and isinstance(spec, dict) else None
        if argument is None or not isinstance(values, list):
            out[name] = spec
            continue
        for value in values:
            text = str(value).removeprefix("PT").removeprefix("P").lower()
            out[name.replace(argument[0], text)] = {**spec, argument[1]: value}
    return out


Features = Annotated[dict[str, FeatureSpec], BeforeValidator(_expanded)]
