"""Quality gates: what is counted about each entity's rows and curves, and Great Expectations' verdict on it."""
