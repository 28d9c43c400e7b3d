"""What every Spark job here stands on: the session, incremental reads, and Avro from Kafka."""
