"""The tables of the lake: Bronze, Silver, Gold and quarantine."""
