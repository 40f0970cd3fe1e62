"""Perceptual hashers, one file each."""
