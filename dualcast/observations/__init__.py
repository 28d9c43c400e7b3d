"""The rules for measured values. Streaming, batch, services, exports and backtests all call these.

``columns``: observations as arrays; ``validation``: reasons to refuse one; ``grid``: intervals to slots of the grid;
``vintages``: the value known at a moment; ``aggregation``: sums, means; ``actuals``: target and reference afterwards;
``cleaning``: all of these for Silver; ``frames``, ``publication``: frames of observations and when values become known.
"""
