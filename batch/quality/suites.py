"""The Great Expectations suites. They judge facts: one row for each entity or curve, with counts and ratios.

Spark computes the facts; judging them takes milliseconds. Each entity is judged by itself, so that one that fails does
not block the others.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import pandas as pd

from batch.quality.verdicts import Expectation, Key, Verdict
from dualcast.catalogue import CurveQuality

INCOMPLETE = "incomplete_day"
CROSSING = "quantiles_cross"


def none_of(reason: str, text: str = "") -> Any:
    """No row has a fault; the column with their number has the name of the reason."""
    meta = {"reason": reason, "text": text or f"no row refused as {reason.replace('_', ' ')}"}
    return _expectations().ExpectColumnValuesToBeBetween(column=reason, max_value=0, meta=meta)


def whole_days() -> Any:
    """Every delivery day has a row for each of its intervals."""
    return _expectations().ExpectColumnPairValuesToBeEqual(
        column_A="rows",
        column_B="expected_rows",
        meta={"reason": INCOMPLETE, "text": "a row for each interval of the delivery day"},
    )


def sound_curves(quality: CurveQuality) -> list[Any]:
    """Complete days, non-crossing quantiles, and the ratios bounded by the catalogue; unknown ratios pass."""
    gxe = _expectations()
    bounds = {"level": quality.level, "ramp": quality.ramp, "width": quality.width}
    return [
        whole_days(),
        none_of(CROSSING, "quantiles that do not cross"),
        *(
            gxe.ExpectColumnValuesToBeBetween(
                column=f"{name}_ratio",
                min_value=bound[0],
                max_value=bound[1],
                meta={
                    "reason": f"implausible_{name}",
                    "text": f"{name} {bound[0]:g} to {bound[1]:g} times the past",
                },
            )
            for name, bound in bounds.items()
            if bound is not None
        ),
    ]


def judge(suite: str, facts: pd.DataFrame, key: Sequence[str], expectations: Iterable[Any]) -> Verdict:
    """Check facts against expectations; the columns of ``key`` identify a row of ``facts``."""
    import great_expectations as gx  # noqa: PLC0415 -- imported by ``context``, which takes seconds

    source = context().data_sources.get("facts")
    if suite not in source.get_asset_names():
        source.add_dataframe_asset(suite).add_batch_definition_whole_dataframe("all")
    batch = source.get_asset(suite).get_batch_definition("all").get_batch({"dataframe": facts})
    wanted = {"result_format": "COMPLETE", "unexpected_index_column_names": list(key)}
    result = batch.validate(gx.ExpectationSuite(suite, expectations=list(expectations)), result_format=wanted)
    refused: dict[Key, tuple[str, ...]] = {}
    for found in result.results:
        for row in found.result.get("unexpected_index_list") or ():
            name = tuple(row[column] for column in key)
            refused[name] = (*refused.get(name, ()), found.expectation_config.meta["reason"])
    return Verdict(suite, len(facts), tuple(map(_expectation, result.results)), refused)


def _expectation(found: Any) -> Expectation:
    meta = found.expectation_config.meta
    failed = int(found.result.get("unexpected_count") or 0)
    if not found.success and not failed:
        raise RuntimeError(f"{meta['text']}: {found.exception_info}")
    return Expectation(meta["reason"], meta["text"], bool(found.success), failed)


@cache
def context() -> Any:
    """The Great Expectations context of this process, in memory, without analytics."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import great_expectations as gx  # noqa: PLC0415 -- takes seconds, and reads the variable set above

    logging.getLogger("great_expectations.data_context.types.base").setLevel(logging.WARNING)
    made = gx.get_context(mode="ephemeral")
    made.variables.progress_bars = {"globally": False}
    made.data_sources.add_pandas("facts")
    return made


def _expectations() -> Any:
    """The module of expectations, imported after ``context`` has configured the package."""
    context()
    from great_expectations import expectations  # noqa: PLC0415 -- takes seconds

    return expectations
