"""Forecasters: one file each, found by the name that a use case's YAML gives."""
