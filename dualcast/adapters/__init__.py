"""The only input and output of the platform: Kafka, the lake, the feature store, the model registry, the forecasts."""

from contextlib import suppress


def _disable_typeguard_in_feast() -> None:
    """Disable typeguard's instrumentation of Feast's classes, which takes two thirds of the four seconds of its import.

    We do not rely on these checks. MLflow imports Feast too, so every process would pay for them.
    """
    with suppress(ImportError):  # roles without Feast do not have typeguard
        import typeguard  # noqa: PLC0415

        setattr(typeguard, "typechecked", lambda target=None, **_: target or (lambda found: found))  # noqa: B010


_disable_typeguard_in_feast()
