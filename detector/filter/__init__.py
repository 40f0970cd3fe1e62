"""Dataset filtering before retraining."""
