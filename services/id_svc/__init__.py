"""id-svc: intraday curves, scored in memory from the newest features, on request and on arrival."""
