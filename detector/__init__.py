"""The detector: collects evidence on a picture and answers one verdict (R1..R6)."""
