"""Routes that both services serve: events, issued curves, and the requests of POST /predict."""
