"""The verify page: one self-contained HTML file."""
