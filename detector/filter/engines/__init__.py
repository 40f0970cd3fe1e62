"""How the work is spread, one file an engine."""
