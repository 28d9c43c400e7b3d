"""Learners, of which forecasters are built: each is fitted on arrays, and saved to and loaded from files."""
