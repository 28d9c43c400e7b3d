"""How id-svc makes a curve: models, intervals, fallbacks, and the log of scored curves."""
