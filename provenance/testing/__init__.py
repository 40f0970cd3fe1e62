"""Conformance suites and in-memory twins for authors of backends."""
