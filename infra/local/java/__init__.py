"""Java without an installed Java: a runtime, and programs and libraries of Maven Central, pinned."""
