"""The wire format of all topics: Avro behind Confluent's header, read and written as records or as NumPy arrays."""
