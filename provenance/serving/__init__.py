"""What the HTTP service does around every route: keys, limits, logs, metrics.

`provenance.web` composes it; routers of other packages use `needs` and `note_records`.
"""
