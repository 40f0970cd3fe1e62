"""Signers, one file each."""
