"""The only module that uses PyFlink's internals (2.3.0); its tests fail when they change."""

from __future__ import annotations

from pyflink.common import CompletableFuture, JobClient, TypeInformation, Types
from pyflink.datastream import DataStream, KeyedStream
from pyflink.java_gateway import get_gateway


def keyed_in_jvm(pairs: DataStream, value_type: TypeInformation) -> KeyedStream:
    """Key a stream of ROW(key STRING, value ``value_type``) that came from a table.

    A process function on the result receives the value alone, and the key as ``ctx.get_current_key()``. PyFlink's own
    ``key_by`` sends every record to Python and back only to compute the key, which costs a third of the throughput.
    """
    key_type = Types.STRING()
    java_stream = pairs._j_data_stream
    # a stream from a table has an external type, which the keyed Python operator does not accept
    java_stream.getTransformation().setOutputType(Types.ROW([key_type, value_type]).get_java_type_info())
    by_first = get_gateway().jvm.KeyByKeySelector()
    keyed = java_stream.keyBy(by_first, Types.ROW([key_type]).get_java_type_info())
    return KeyedStream(keyed, value_type, pairs)


def stop_with_savepoint(client: JobClient, folder: str) -> CompletableFuture:
    """Stop a job with a savepoint below ``folder``; the future returns its path.

    PyFlink's own method calls a Java method that Flink 2 removed. A canonical savepoint fits any state backend.
    """
    canonical = get_gateway().jvm.org.apache.flink.core.execution.SavepointFormatType.CANONICAL
    return CompletableFuture(client._j_job_client.stopWithSavepoint(False, folder, canonical), str)
