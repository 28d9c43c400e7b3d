"""A Java runtime from PyPI, and pinned Java programs and libraries from Maven Central."""
