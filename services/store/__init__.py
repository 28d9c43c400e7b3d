"""The relational store: its recorder, its exports and its commands."""
