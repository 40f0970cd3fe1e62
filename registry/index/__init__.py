"""Indexes over registry rows: caches that can always be rebuilt."""
