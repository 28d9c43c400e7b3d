"""The supervisor process, and how it starts, watches and ends the others."""
