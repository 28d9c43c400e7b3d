"""The job as a separate program, for ``flink run --pyModule streaming.job``: see docs/streaming-job.md."""

from __future__ import annotations

import sys

from streaming.job.commands import app

if __name__ == "__main__":
    app(["features", *sys.argv[1:]])
