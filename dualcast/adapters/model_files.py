"""Checks of a downloaded model before anything of it is read or imported.

Whoever can write to the artifact store can change a model's files. The registry's database holds the checksum of the
files that training wrote; the loader is one of a fixed list, whatever the files name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlflow

# The modules that may read a model.
LOADERS = {"models.prediction.packaging"}
CHECKSUM_TAG = "dualcast.sha256"
_CHUNK = 1 << 20


class UntrustedModelError(RuntimeError):
    """The files of a model are not those that were registered. Nothing of them was used."""


def checksum(folder: Path) -> str:
    """SHA-256 of the names and contents of all files in a folder. Raises UntrustedModelError if it holds a link."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            raise UntrustedModelError(f"{path.name} is a link")
        if path.is_file():
            total.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    total.update(chunk)
    return total.hexdigest()


def trusted_parts(folder: Path, flavour: Mapping[str, Any], registered: str) -> tuple[str, Path]:
    """The loader and the data of a downloaded model, of which the checksum was ``registered``.

    Raises UntrustedModelError.
    """
    loader, data = str(flavour.get(mlflow.pyfunc.MAIN)), (folder / str(flavour.get(mlflow.pyfunc.DATA))).resolve()
    if loader not in LOADERS:
        raise UntrustedModelError(f"{loader[:100]!r} is no loader of ours")
    if not data.is_relative_to(folder.resolve()) or data == folder.resolve():
        raise UntrustedModelError("the data lie outside of the model's folder")
    if checksum(data) != registered:
        raise UntrustedModelError("the files have changed since the model was registered")
    return loader, data
