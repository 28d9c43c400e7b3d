"""The services of the relational store: recorder, exports and commands."""
