"""The catalogue's ``sources``: invalid entries are refused with their line."""

from __future__ import annotations

from pathlib import Path

import pytest

from dualcast.catalogue import CatalogueError, parse_use_case

FILE = Path(__file__).parents[3] / "use_cases" / "es_load.yaml"
TEXT = FILE.read_text(encoding="utf-8")
LOAD = "{variable: load, entity: ES, unit: MW, resolution: PT5M, query: {indicator: 1293}}"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (("unit: MW,", "unti: MW,"), "sources.esios.0.unit: Field required"),
        (("query: {", "colour: red, query: {"), "sources.esios.0.colour: Extra inputs are not permitted"),
        (("variable: load", "variable: laod"), "source 'esios': 'laod' is not one of the variables"),
        (("entity: ES", "entity: XX"), "source 'esios': 'XX' is not one of the entities"),
        (("PT5M", "PT7M"), "source 'esios': steps of PT7M do not fit the grid of PT1H"),
        (("PT5M", "PT90M"), "source 'esios': steps of PT90M do not fit the grid of PT1H"),
    ],
)
def test_a_series_that_does_not_fit_is_refused(change: tuple[str, str], text: str) -> None:
    assert LOAD in TEXT
    with pytest.raises(CatalogueError, match=r"es_load\.yaml:\d+: ") as error:
        parse_use_case(TEXT.replace(LOAD, LOAD.replace(*change)), str(FILE))
    assert text in str(error.value)
