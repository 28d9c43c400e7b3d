"""The command line: the commands of every package whose dependencies are installed."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from shutil import copytree

import pytest

from dualcast.adapters.commands import framed
from dualcast.cli import _commands
from tests.conftest import ROOT

DUALCAST = str(Path(sys.executable).with_name("dualcast"))


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | environment
    return subprocess.run(
        [DUALCAST, *words], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False
    )


def test_help_lists_the_commands_of_every_package() -> None:
    shown = run("--help").stdout
    for command in ("up", "demo", "stream", "run", "train", "score", "serve", "export", "validate", "decode"):
        assert command in shown


def test_an_unknown_use_case_is_reported_without_traceback() -> None:
    done = run("validate", "mars_load")
    assert done.returncode == 2
    assert "there is no such use case" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("right", "wrong", "reason"),
    [("New Year's Day", "Festivus", "'Festivus' is neither a holiday"), ("country: DE", "country: XX", "Country XX")],
)
def test_an_unknown_holiday_or_country_is_refused(tmp_path: Path, right: str, wrong: str, reason: str) -> None:
    folder = Path(copytree(ROOT / "use_cases", tmp_path / "use_cases"))
    text = (folder / "de_load.yaml").read_text(encoding="utf-8")
    (folder / "de_load.yaml").write_text(text.replace(right, wrong, 1), encoding="utf-8")
    done = run("validate", "de_load", DUALCAST_USE_CASES=str(folder))
    assert done.returncode == 2
    assert reason in done.stderr


def test_commands_with_missing_dependencies_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "poor_package.py").write_text("import a_package_that_nobody_has\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert _commands(EntryPoint("poor", "poor_package:app", "dualcast.commands")) is None


def test_a_broken_command_package_raises_its_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_package.py").write_text("import streaming.nothing_here\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError):
        _commands(EntryPoint("broken", "broken_package:app", "dualcast.commands"))


def test_messages_are_separated_by_their_length_prefix() -> None:
    values = [b"one\x00two", b"", b"x" * 70_000]
    stream = io.BytesIO(b"".join(len(v).to_bytes(4, "big") + v for v in values))
    assert list(framed(stream)) == values


@pytest.mark.parametrize("cut", [2, 5])
def test_an_incomplete_message_is_an_error(cut: int) -> None:
    stream = io.BytesIO((len(b"value").to_bytes(4, "big") + b"value")[:cut])
    with pytest.raises(ValueError, match="ends within a message"):
        list(framed(stream))
