"""Run the examples in docstrings. Only modules that have one are imported."""

from __future__ import annotations

import doctest
from importlib import import_module

import pytest

from tests.conftest import ROOT

PACKAGES = ("dualcast", "streaming", "batch", "feature_repo", "models", "services", "infra")


def with_examples() -> list[str]:
    files = (file.relative_to(ROOT) for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py")))
    return [".".join(f.with_suffix("").parts) for f in files if ">>> " in (ROOT / f).read_text(encoding="utf-8")]


@pytest.mark.parametrize("module", with_examples())
def test_docstring_examples_give_the_documented_results(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    results = doctest.testmod(import_module(module))
    assert results.attempted
    assert not results.failed
