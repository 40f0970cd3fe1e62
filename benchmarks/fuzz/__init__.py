"""Damaged and hostile files against every reader."""
