"""The Flink job: computes intraday features from observations, for the online store and the features topic.

``step`` processes one message without any engine; ``function`` and ``pipeline`` embed it in Flink, ``runtime`` runs the
job, and ``caught_up`` waits until the job has read all messages.
"""
