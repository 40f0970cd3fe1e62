"""Watermarks that other programs write under no key, found by their known messages."""
