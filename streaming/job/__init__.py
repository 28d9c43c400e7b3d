"""The Flink job: observations of the stream become intraday features, in the online store and on their topic.

``step`` is what happens to one message and knows no engine; ``function`` and ``pipeline`` put it into Flink,
``runtime`` runs that, and ``caught_up`` tells when it has read what there was.
"""
