"""da-svc: precomputed day-ahead curves, history, status, and the page."""
