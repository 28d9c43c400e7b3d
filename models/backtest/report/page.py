"""The report as HTML: tables first, plots beside them, and at the end how it was made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from string import Template

import numpy as np

from dualcast.curves.quantiles import quantile_column
from models.backtest.report import charts
from models.backtest.report.charts import number
from models.backtest.summary import Summary, WorstDay
from models.evaluation.scoring import POINT, Errors, Score

_PLAUSIBLE_COVERAGE = 3.0
_KEY = {"forecast": "forecast", "actual": "actual", "reference": "reference", "naive": "naive: last week"}
_UNORDERED = {"day type", "entity"}
_CAPTIONS = {
    "horizon": "By horizon",
    "days ahead": "By days ahead",
    "month": "By month",
    "local hour": "By local hour",
    "day type": "By day type",
    "entity": "By entity",
}


@dataclass(frozen=True)
class Subject:
    """Title, unit and provenance of a report, as shown."""

    title: str
    subtitle: str
    unit: str
    reference: str | None
    interval: tuple[float, float]
    facts: Mapping[str, str]

    @property
    def interval_name(self) -> str:
        """The bounds of the interval as column names: q10-q90."""
        return "-".join(map(quantile_column, self.interval))

    @property
    def nominal_coverage(self) -> float:
        """The share of actuals that the interval should hold, in %."""
        return 100 * (self.interval[1] - self.interval[0])


def render(subject: Subject, summary: Summary) -> str:
    """The whole page."""
    template = Template((files("models.backtest.report") / "page.html").read_text(encoding="utf-8"))
    sections = [
        _overall(subject, summary),
        *([_answers(subject, summary)] if summary.answers else []),
        _calibration(subject, summary),
        *(_group(subject, heading, found) for heading, found in summary.groups.items()),
        _worst(subject, summary),
        _facts(subject),
    ]
    return template.substitute(
        title=escape(subject.title),
        subtitle=escape(subject.subtitle),
        tiles="".join(_tiles(subject, summary)),
        sections="\n".join(sections),
    )


def _tiles(subject: Subject, summary: Summary) -> Iterable[str]:
    s = summary.overall
    # MAPE is meaningless where actuals are near zero
    relative = s.mape is not None and s.wape is not None and s.mape < 1.5 * s.wape
    if relative:
        yield _tile(_percent(s.mape), "mean absolute error (MAPE)")
    else:
        yield _tile(_percent(s.wape), "absolute error (WAPE)")
    yield _tile(f"{number(s.mae)} {subject.unit}", "mean absolute error")
    if s.reference_mae is not None:
        theirs = _percent(s.reference_mape) if relative else f"{number(s.reference_mae)} {subject.unit}"
        yield _tile(theirs, f"reference {subject.reference}")
    if s.skill is not None:
        better = "good" if s.skill > 0 else "bad"
        word = "smaller" if s.skill > 0 else "larger"
        yield _tile(f"{100 * abs(s.skill):.0f} %", f"{word} error than the reference", better)
    if s.coverage is not None:
        near = "good" if abs(s.coverage - subject.nominal_coverage) <= _PLAUSIBLE_COVERAGE else "bad"
        text = f"within {subject.interval_name} (nominal: {subject.nominal_coverage:.0f} %)"
        yield _tile(f"{s.coverage:.1f} %", text, near)


def _tile(value: str, text: str, tone: str = "") -> str:
    return f'<div class="tile"><b class="{tone}">{escape(value)}</b><span class="muted">{escape(text)}</span></div>'


def _overall(subject: Subject, summary: Summary) -> str:
    header = ["", "n", "MAPE %", "WAPE %", *(f"{m} {subject.unit}" for m in ("MAE", "RMSE", "bias"))]
    rows = [[name, *_error_cells(errors)] for name, errors in summary.comparison.items()]
    s = summary.overall
    rows = [[*row, "-", "-"] for row in rows]
    rows[0][-2:] = [number(s.pinball), _one(s.coverage)]
    header += [f"pinball {subject.unit}", f"{subject.interval_name} %"]
    text = "Each on all intervals where it and the actual are known. Bias: forecast less actual."
    if summary.unscored:
        text += f" {summary.unscored:,} forecasts have no sound actual and are not scored."
    return _section("Overall", text, _table(header, rows))


def _answers(subject: Subject, summary: Summary) -> str:
    header = ["answer", "n", "MAPE %", f"MAE {subject.unit}", f"pinball {subject.unit}", f"{subject.interval_name} %"]
    rows = [
        [name, f"{s.n:,}", _two(s.mape), number(s.mae), number(s.pinball), _one(s.coverage)]
        for name, s in summary.answers.items()
    ]
    text = (
        "The errors of the champion, and those of each fallback if it had answered instead. previous_version: the model"
        " of the previous fold. degraded_inputs: no optional variable known. last_stored: the curve of an hour before."
    )
    return _section("Errors by answer used", text, _table(header, rows))


def _calibration(subject: Subject, summary: Summary) -> str:
    found = summary.calibration
    levels = list(next(iter(found.values())).below)
    below = [f"below {level} %" for level in levels]
    header = ["quarter", "n", f"{subject.interval_name} %", *below, f"mean width {subject.unit}"]
    rows = [
        [name, f"{c.n:,}", f"{c.inside:.1f}", *(f"{share:.1f}" for share in c.below.values()), number(c.width)]
        for name, c in found.items()
    ]
    inside = [c.inside for c in found.values()]
    plot = charts.shares("coverage by quarter", list(found), inside, subject.nominal_coverage)
    text = (
        f"Share of actuals within {subject.interval_name}, and below each quantile. Of calibrated quantiles the shares"
        " are near the levels."
    )
    return _section("Calibration by quarter", text, _pair(plot, _table(header, rows)))


def _group(subject: Subject, heading: str, found: Mapping[str, Score]) -> str:
    header = [heading, "n", "MAPE %", "MAE", "RMSE", "bias", "pinball", f"{subject.interval_name} %"]
    header += ["ref. MAE", "naive MAE", "skill"]
    rows = [[name, *_score_cells(s)] for name, s in found.items()]
    series: dict[str, list[float | None]] = {
        "forecast": [s.mae for s in found.values()],
        "reference": [s.reference_mae for s in found.values()],
        "naive": [s.naive_mae for s in found.values()],
    }
    known = {name: values for name, values in series.items() if any(v is not None for v in values)}
    labels = [name.removesuffix(":00").removesuffix(" h") for name in found]
    draw = charts.columns if heading in _UNORDERED else charts.lines
    plot = _key(known) + draw(f"mean absolute error by {heading}", labels, known, subject.unit)
    text = f"Mean absolute error in {subject.unit}. Skill: 1 less the error as a share of the reference's."
    return _section(_CAPTIONS[heading], text, _pair(plot, _table(header, rows)))


def _worst(subject: Subject, summary: Summary) -> str:
    days = "".join(_worst_day(subject, worst) for worst in summary.worst)
    text = f"The {len(summary.worst)} days with the largest mean absolute error, worst first; days are local."
    key = _key(("forecast", "actual", *(["reference"] if subject.reference else [])), subject.interval_name)
    return _section("Worst days", text, f'{key}<div class="days">{days}</div>')


def _worst_day(subject: Subject, worst: WorstDay) -> str:
    columns = {c: worst.points[c].to_numpy(dtype=np.float64) for c in ("low", POINT, "high", "actual", "reference")}
    series = {"reference": columns["reference"], "actual": columns["actual"], "forecast": columns[POINT]}
    local = worst.points["local"]
    labels = local.dt.strftime("%H:%M" if local.dt.date.nunique() == 1 else "%m-%d").tolist()
    plot = charts.day(f"{worst.entity_id} {worst.day}", labels, series, columns["low"], columns["high"])
    size = f"{number(worst.mae)} {subject.unit}"
    return (
        f"<figure><h3>{escape(worst.entity_id)}, {worst.day}<span>{escape(size)}</span></h3>"
        f'<figcaption class="muted">{worst.day_type}</figcaption>{plot}</figure>'
    )


def _facts(subject: Subject) -> str:
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in subject.facts.items())
    return _section("How it was made", "", f"<dl>{items}</dl>")


def _section(heading: str, text: str, body: str) -> str:
    paragraph = f'<p class="muted">{escape(text)}</p>' if text else ""
    return f"<section><h2>{escape(heading)}</h2>{paragraph}{body}</section>"


def _pair(plot: str, table: str) -> str:
    return f'<div class="pair"><figure>{plot}</figure>{table}</div>'


def _key(series: Iterable[str], band: str = "") -> str:
    items = [f'<li><i class="{name}"></i>{_KEY[name]}</li>' for name in series]
    items += [f'<li><i class="band"></i>{band}</li>'] if band else []
    return f'<ul class="key">{"".join(items)}</ul>'


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _error_cells(e: Errors) -> list[str]:
    return [f"{e.n:,}", _two(e.mape), _two(e.wape), number(e.mae), number(e.rmse), number(e.bias)]


def _score_cells(s: Score) -> list[str]:
    return [
        f"{s.n:,}",
        _two(s.mape),
        *(number(v) for v in (s.mae, s.rmse, s.bias, s.pinball)),
        _one(s.coverage),
        *("-" if v is None else number(v) for v in (s.reference_mae, s.naive_mae)),
        _two(s.skill),
    ]


def _one(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _two(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} %"
