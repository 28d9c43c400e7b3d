"""Use cases from ``use_cases/*.yaml``. A mistake in a file is refused with file, line and key."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import ValidationError

from dualcast.catalogue.base import CatalogueError, Strict
from dualcast.catalogue.features import PLACEHOLDER
from dualcast.catalogue.use_case import UseCase

Model = TypeVar("Model", bound=Strict)


def load_use_case(name: str, folder: Path = Path("use_cases")) -> UseCase:
    """Read ``<folder>/<name>.yaml``.

    Raises CatalogueError, which names file, line and key, where the file is missing or wrong.
    """
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.yaml"))) or "none"
        raise CatalogueError(f"{path}: there is no such use case; known: {known}")
    return parse_use_case(path.read_text(encoding="utf-8"), str(path))


def load_catalogue(folder: Path = Path("use_cases")) -> dict[str, UseCase]:
    """Read every use case of a folder, by name."""
    return {p.stem: load_use_case(p.stem, folder) for p in sorted(folder.glob("*.yaml"))}


def parse_use_case(text: str, origin: str) -> UseCase:
    """Build a use case from YAML text; ``origin`` is named in errors."""
    return parse_yaml(UseCase, text, origin)


def parse_yaml(model: type[Model], text: str, origin: str) -> Model:
    """Build a model from YAML text. Raises CatalogueError, which names ``origin``, line and key."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        return model.model_validate(yaml.safe_load(text), context={"folder": Path(origin).parent})
    except yaml.YAMLError as error:
        raise CatalogueError(f"{origin}: not YAML: {error}") from error
    except ValidationError as error:
        raise CatalogueError("\n".join(_faults(error, root, origin))) from error


def _faults(error: ValidationError, root: yaml.Node | None, origin: str) -> Iterator[str]:
    """One line for each fault: file, line, key, what is wrong."""
    for fault in error.errors():
        location = fault["loc"]
        yield f"{origin}:{_line_of(root, location)}: {'.'.join(map(str, location)) or 'use case'}: {fault['msg']}"


def _line_of(node: yaml.Node | None, location: tuple[int | str, ...]) -> int:
    """The line of the deepest node on the way to a location that the file really has."""
    line = 1 if node is None else node.start_mark.line + 1
    for step in location:
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if _names(k.value, str(step))), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
        else:
            break
    return line


def _names(key: str, name: str) -> bool:
    """Whether a key of the file is a name, or what it was expanded from."""
    return re.fullmatch(".+".join(map(re.escape, PLACEHOLDER.split(key)[::2])), name) is not None
