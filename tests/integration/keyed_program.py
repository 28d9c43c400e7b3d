"""A Flink program that keys a table in the JVM and counts by key in its state; the last line of output is JSON.

Its argument is where Python runs, "process" or "thread". Inside the JVM it writes more to stderr than a pipe buffers.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator

from pyflink.common import Configuration, Row, Types
from pyflink.datastream import KeyedProcessFunction, RuntimeContext, StreamExecutionEnvironment
from pyflink.datastream.state import ValueStateDescriptor
from pyflink.table import StreamTableEnvironment

from streaming.job import java
from streaming.job.internals import keyed_in_jvm

VALUE = Types.ROW([Types.INT(), Types.PRIMITIVE_ARRAY(Types.BYTE())])
PAIRS = "SELECT k, ROW(n, ENCODE(t, 'UTF-8')) FROM (VALUES ('a', 1, 'x'), ('b', 2, 'y'), ('a', 3, 'z')) AS v (k, n, t)"
NOISE = 2**18 * b"."


class Count(KeyedProcessFunction):  # type: ignore[misc]
    """Yields the key, its running count and the value."""

    def __init__(self, python: str) -> None:
        self._python = python

    def open(self, runtime_context: RuntimeContext) -> None:
        if self._python == "thread":
            java.adapt_python()
            os.write(2, NOISE)
        self._count = runtime_context.get_state(ValueStateDescriptor("count", Types.INT()))

    def process_element(self, value: Row, ctx: KeyedProcessFunction.Context) -> Iterator[str]:
        count = (self._count.value() or 0) + 1
        self._count.update(count)
        yield json.dumps([ctx.get_current_key(), count, value[0], bytes(value[1]).decode()])


def main() -> None:
    """Run it."""
    python = sys.argv[1]
    configuration = Configuration()
    configuration.set_string("python.execution-mode", python)
    configuration.set_string("python.pythonpath", os.pathsep.join(filter(None, sys.path)))
    for option in ("python.executable", "python.client.executable"):
        configuration.set_string(option, sys.executable)
    configuration.set_string("parallelism.default", "2")
    env = StreamExecutionEnvironment.get_execution_environment(configuration)
    tables = StreamTableEnvironment.create(env)
    counted = keyed_in_jvm(tables.to_data_stream(tables.sql_query(PAIRS)), VALUE).process(Count(python), Types.STRING())
    with counted.execute_and_collect() as found:
        sys.stdout.write("\n" + json.dumps(sorted(json.loads(text) for text in found)))


if __name__ == "__main__":
    main()
