"""How id-svc makes a curve: models, intervals, fallbacks, and the log of what was scored."""
