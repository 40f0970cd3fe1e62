"""Countermark's own copy descriptor: see README.md, its model card."""
