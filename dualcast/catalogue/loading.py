"""Read use cases from ``use_cases/*.yaml``. Errors name file, line and key."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from dualcast.catalogue.base import CatalogueError, Strict
from dualcast.catalogue.document import Document
from dualcast.catalogue.use_case import UseCase

_Model = TypeVar("_Model", bound=Strict)


def load_use_case(name: str, folder: Path = Path("use_cases")) -> UseCase:
    """Read ``<folder>/<name>.yaml``.

    Raises CatalogueError, which names file, line and key, where the file is missing or invalid.
    """
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.yaml"))) or "none"
        raise CatalogueError(f"{path}: there is no such use case; known: {known}")
    return parse_use_case(path.read_text(encoding="utf-8"), str(path))


def load_catalogue(folder: Path = Path("use_cases")) -> dict[str, UseCase]:
    """Read every use case of a folder, by name."""
    return {p.stem: load_use_case(p.stem, folder) for p in sorted(folder.glob("*.yaml"))}


def read_document(path: Path) -> Any:
    """The content of a YAML file with its includes merged in. Raises CatalogueError where it is not YAML."""
    return Document.parse(path.read_text(encoding="utf-8"), str(path)).data


def parse_use_case(text: str, origin: str) -> UseCase:
    """Build a use case from YAML text; ``origin`` is its path: errors name it, includes are relative to it."""
    return parse_yaml(UseCase, text, origin)


def parse_yaml(model: type[_Model], text: str, origin: str) -> _Model:
    """Build a model from YAML text. Raises CatalogueError, which names file, line and key."""
    document = Document.parse(text, origin)
    try:
        return model.model_validate(document.data, context={"folder": Path(origin).parent})
    except ValidationError as error:
        mistakes = [
            f"{document.place(e['loc'])}: {'.'.join(map(str, e['loc'])) or 'use case'}: {e['msg']}"
            for e in error.errors()
        ]
        raise CatalogueError("\n".join(mistakes)) from error
