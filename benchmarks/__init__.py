"""Benchmarks. Each program measures a component and its peer in one run and reports the ratio; see ``make bench``."""
