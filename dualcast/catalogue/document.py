"""YAML documents with includes, and the file and line of each value."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dualcast.catalogue.base import CatalogueError
from dualcast.catalogue.features import PLACEHOLDER

_INCLUDE = "include"


@dataclass(frozen=True)
class Document:
    """A YAML document with its includes merged in.

    ``include: parts/x.yaml``, or a list of files beside this one, adds their content; a later file overrides an earlier
    one, and the including file overrides all. Mappings merge key by key, other values are replaced. Keys keep the order
    of the part; a new key is placed after the key before it in the including file, or last. ``key: {}`` sets a place.
    """

    data: Any
    root: yaml.Node | None
    origin: str

    @classmethod
    def parse(cls, text: str, origin: str) -> Document:
        """Read a document. Raises CatalogueError, which names file and line, where it or a part is not YAML."""
        try:
            root = _composed(text, origin)
            data = None if root is None else yaml.SafeLoader("").construct_document(root)
        except yaml.YAMLError as error:
            raise CatalogueError(f"{origin}: not YAML: {error}") from error
        return cls(data, root, origin)

    def place(self, location: tuple[int | str, ...]) -> str:
        """File and line of the deepest node on the path to a location that the document has."""
        node, mark = self.root, None if self.root is None else self.root.start_mark
        for step in location:
            if isinstance(node, yaml.MappingNode):
                found = next(((k, v) for k, v in node.value if _names(k.value, str(step))), None)
                if found is None:
                    break
                mark, node = found[0].start_mark, found[1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
                node = node.value[step]
                mark = node.start_mark
            else:
                break
        return f"{self.origin}:1" if mark is None else f"{mark.name}:{mark.line + 1}"


def _composed(text: str, origin: str) -> yaml.Node | None:
    """The root of a document, with its includes merged in."""
    root = _root(text, origin)
    if not isinstance(root, yaml.MappingNode):
        return root
    own = [(key, value) for key, value in root.value if key.value != _INCLUDE]
    merged: yaml.Node = _mapping([], root)
    for value in [value for key, value in root.value if key.value == _INCLUDE]:
        for file in value.value if isinstance(value, yaml.SequenceNode) else [value]:
            merged = _merged(merged, _part(file, Path(origin).parent))
    return _merged(merged, _mapping(own, root))


def _root(text: str, origin: str) -> yaml.Node | None:
    loader = yaml.SafeLoader(text)
    loader.name = origin
    root: yaml.Node | None = loader.get_single_node()
    return root


def _part(file: yaml.Node, folder: Path) -> yaml.MappingNode:
    path = folder / str(file.value)
    if not path.is_file():
        raise CatalogueError(f"{_place(file)}: {_INCLUDE}: {path}: there is no such file")
    root = _root(path.read_text(encoding="utf-8"), str(path))
    if not isinstance(root, yaml.MappingNode) or any(key.value == _INCLUDE for key, _ in root.value):
        raise CatalogueError(f"{path}:1: a part must be a mapping, and cannot include another")
    return root


def _merged(part: yaml.Node, own: yaml.Node) -> yaml.Node:
    """``own`` over ``part``; see Document."""
    if not (isinstance(part, yaml.MappingNode) and isinstance(own, yaml.MappingNode)):
        return own
    entries = list(part.value)
    after = len(entries)
    for key, value in own.value:
        at = next((i for i, (there, _) in enumerate(entries) if there.value == key.value), None)
        if at is None:
            entries.insert(after, (key, value))
        else:
            entries[at] = (key, _merged(entries[at][1], value))
            after = at
        after += 1
    return _mapping(entries, own)


def _mapping(entries: list[tuple[yaml.Node, yaml.Node]], like: yaml.MappingNode) -> yaml.MappingNode:
    return yaml.MappingNode(like.tag, entries, like.start_mark, like.end_mark)


def _place(node: yaml.Node) -> str:
    return f"{node.start_mark.name}:{node.start_mark.line + 1}"


def _names(key: str, name: str) -> bool:
    """Whether a key of the file is a name, or the pattern that the name was made from."""
    return re.fullmatch(".+".join(map(re.escape, PLACEHOLDER.split(key)[::2])), name) is not None
