"""Keying a stream in the JVM. The one place with PyFlink's internals (2.3.0); its test tells when they change.

PyFlink's own ``key_by`` sends every record to Python and back only to find the key: a third of the throughput.
"""

from __future__ import annotations

from pyflink.common import TypeInformation, Types
from pyflink.datastream import DataStream, KeyedStream
from pyflink.java_gateway import get_gateway


def keyed_in_jvm(pairs: DataStream, value_type: TypeInformation) -> KeyedStream:
    """Key a stream of ROW(key STRING, value ``value_type``) that came from a table.

    A process function on the result gets the bare value, and the key as ``ctx.get_current_key()``.
    """
    key_type = Types.STRING()
    java_stream = pairs._j_data_stream
    # a stream from a table has an external type, which the keyed Python operator refuses
    java_stream.getTransformation().setOutputType(Types.ROW([key_type, value_type]).get_java_type_info())
    by_first = get_gateway().jvm.KeyByKeySelector()
    keyed = java_stream.keyBy(by_first, Types.ROW([key_type]).get_java_type_info())
    return KeyedStream(keyed, value_type, pairs)
