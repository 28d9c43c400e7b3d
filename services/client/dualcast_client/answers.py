"""The types of the services' answers. Times are ISO 8601 texts in UTC, durations ISO 8601 texts."""

from typing import Literal, NotRequired, TypedDict

Path = Literal["day-ahead", "intraday"]


class Model(TypedDict):
    """The model that made a curve."""

    name: str
    version: str


class Point(TypedDict):
    """One interval: its start, and the value of each quantile by level. ``actual`` is in issued curves only."""

    valid_time: str
    quantiles: dict[str, float]
    actual: NotRequired[float | None]


class Input(TypedDict):
    """The age of one input variable of a curve."""

    variable: str
    known_until: str | None
    age_seconds: float | None


class Curve(TypedDict):
    """One forecast curve. Which of the last fields exist depends on the path, and on whether it is an issued curve."""

    use_case: str
    path: Literal["day_ahead", "intraday"]
    entity_id: str
    issued_at: str
    target: str
    unit: str
    resolution: str
    model: Model
    code_version: str
    data_version: str
    newest_input_at: str
    degraded: bool
    degraded_reasons: list[str]
    simulated: bool
    points: list[Point]
    input_age_seconds: NotRequired[float]
    fallback: NotRequired[str | None]
    delivery_date: NotRequired[str]
    stale: NotRequired[bool]
    inputs: NotRequired[list[Input]]


class Problem(TypedDict):
    """A problem (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    instance: str


class HistoryPoint(TypedDict):
    """The actual and the reference of one interval."""

    valid_time: str
    actual: float | None
    reference: float | None


class History(TypedDict):
    """Actuals and reference of an entity."""

    use_case: str
    entity_id: str
    target: str
    reference: str | None
    unit: str
    resolution: str
    simulated: bool
    points: list[HistoryPoint]


class Errors(TypedDict):
    """Errors so far, in percent or (``mae``) in the unit of the target. ``horizon`` is of the intraday path only."""

    points: int
    mape: float
    mae: float
    coverage: float | None
    reference_mape: float | None
    horizon: NotRequired[str]


class EntityErrors(TypedDict):
    """Errors so far of both paths."""

    day_ahead: Errors | None
    intraday: list[Errors]


class CurveState(TypedDict):
    """A curve in memory, without its points. ``delivery_date`` is of day-ahead curves only."""

    issued_at: str
    model: Model
    newest_input_at: str
    input_age_seconds: float
    degraded: bool
    degraded_reasons: list[str]
    fallback: str | None
    stale: bool
    delivery_date: NotRequired[str]


class EntityStatus(TypedDict):
    """The state of one entity."""

    entity_id: str
    title: str
    time_zone: str
    simulated: bool
    newest_actual_at: str | None
    actual_age_seconds: float | None
    day_ahead: list[CurveState]
    intraday: CurveState | None
    errors: EntityErrors


class Clock(TypedDict):
    """The clock of the services."""

    now: str
    replay: bool
    start: str | None
    until: str | None
    speed: float
    running: bool


class UseCase(TypedDict):
    """The names and the unit of a use case, and the interval of each path that is shown and scored."""

    use_case: str
    title: str
    target: str
    reference: str | None
    unit: str
    interval: dict[str, tuple[float, float]]


class Feed(TypedDict):
    """One topic that a service reads."""

    topic: str
    state: Literal["connecting", "reading", "following", "unreachable", "stuck"]
    records: int
    undecodable: int
    refused: int


class Circuit(TypedDict):
    """A server, and whether the last call of it failed."""

    server: Literal["redis", "store", "registry"]
    failed: bool


class DayAheadStatus(TypedDict):
    """The state of both paths, by da-svc."""

    clock: Clock
    use_case: UseCase
    use_cases: list[str]
    entities: list[EntityStatus]
    feeds: list[Feed]
    circuits: list[Circuit]


class LoadedModel(TypedDict):
    """A model in memory. ``reason`` is of refused versions only."""

    use_case: str
    alias: str
    name: str
    version: str
    reason: NotRequired[str]


class IntradayEntityStatus(TypedDict):
    """The state of one entity, by id-svc."""

    entity_id: str
    published_until: str | None
    input_age_seconds: float | None
    stale: bool


class IntradayStatus(TypedDict):
    """The state of the intraday path, by id-svc."""

    clock: Clock
    use_case: UseCase
    use_cases: list[str]
    models: list[LoadedModel]
    refused: list[LoadedModel]
    entities: list[IntradayEntityStatus]
    counters: dict[str, int]
    feeds: list[Feed]
    circuits: list[Circuit]
