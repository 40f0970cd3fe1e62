"""Watermark codecs, one file each."""
