"""The only input and output of the platform: Kafka, the lake, the feature store, the model registry, the forecasts."""

from contextlib import suppress


def _spare_feast_its_run_time_types() -> None:
    """Let Feast be imported without instrumenting its classes: two thirds of the four seconds that its import takes.

    Feast decorates them with typeguard. Nothing of ours relies on that, and MLflow imports Feast too, in every process.
    """
    with suppress(ImportError):  # roles without Feast need not have it
        import typeguard  # noqa: PLC0415

        setattr(typeguard, "typechecked", lambda target=None, **_: target or (lambda found: found))  # noqa: B010


_spare_feast_its_run_time_types()
