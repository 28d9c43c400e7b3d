"""Quality gates: facts of each entity's rows and curves, judged by Great Expectations."""
