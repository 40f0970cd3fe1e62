"""Marks that people see: agencies' names and translucent text repeated over a picture."""
