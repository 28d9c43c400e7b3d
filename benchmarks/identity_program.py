"""The feature job without features: its source, keys and sink around a function that returns each message."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pyflink.common import Row
from pyflink.datastream import KeyedProcessFunction, StreamExecutionEnvironment

from dualcast.catalogue import load_use_case
from dualcast.records import Topic
from dualcast.settings import load_settings
from streaming.job import java, pipeline, runtime


class Identity(KeyedProcessFunction):  # type: ignore[misc]
    """Returns each message unchanged."""

    def process_element(self, value: Row, ctx: KeyedProcessFunction.Context) -> Iterator[Row]:
        """One message."""
        _, message, partition, offset, traceparent = value
        origin = f"{partition}-{offset}"
        yield Row(Topic.FEATURES_INTRADAY.value, ctx.get_current_key(), origin, traceparent, [message])


def main() -> None:
    """Run until killed."""
    settings = load_settings()
    java.prepare(settings, "identity")
    use_case = load_use_case(settings.use_case, settings.use_cases)
    configuration = runtime.configure(settings, use_case, parallelism=1)
    configuration.set_string("execution.checkpointing.dir", (settings.state_dir / "identity").resolve().as_uri())
    env = StreamExecutionEnvironment.get_execution_environment(configuration)
    env.add_jars(*(Path(p).as_uri() for p in settings.flink_jar_paths))
    pipeline.start(env, settings, Identity(), group="identity", exactly_once=True).get_job_execution_result().result()


if __name__ == "__main__":
    main()
