"""Fixtures of the integration tests."""

from tiny_models import tiny_model_factory

__all__ = ["tiny_model_factory"]
