"""Logs, traces and metrics of a process. Its composition root calls ``configure`` once."""

from __future__ import annotations

import logging
import sys

import structlog
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from dualcast import __version__
from dualcast.log_stream import unfailing
from dualcast.settings import Settings


def configure(settings: Settings, service: str) -> None:
    """Send logs to stderr, and traces and metrics to the collector where the settings name one."""
    _configure_logs(settings)
    resource = Resource.create({"service.name": service, "service.version": __version__})
    tracer_provider = TracerProvider(resource=resource)
    readers = []
    if settings.otlp_endpoint:
        # slow to import, which every command would wait for
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter  # noqa: PLC0415
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

        tracer_provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{settings.otlp_endpoint}/v1/traces")))
        readers.append(PeriodicExportingMetricReader(OTLPMetricExporter(f"{settings.otlp_endpoint}/v1/metrics")))
    trace.set_tracer_provider(tracer_provider)
    metrics.set_meter_provider(MeterProvider(resource=resource, metric_readers=readers))


def _configure_logs(settings: Settings) -> None:
    assert sys.__stderr__ is not None
    stream = unfailing(sys.__stderr__)  # inside a JVM, ``sys.stderr`` has no file descriptor
    logging.basicConfig(stream=stream, level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    renderer = (
        structlog.processors.JSONRenderer()
        if settings.log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=stream.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[settings.log_level]),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
