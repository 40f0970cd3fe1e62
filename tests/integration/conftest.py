"""Fixtures of the integration tests."""

import pytest


@pytest.fixture(scope="session")
def tiny_model_factory(tmp_path_factory):
    """Answers the folder of a tiny model by family; see `tests/support/tiny_models.py`.

    Its import takes seconds (torch, diffusers), so only the tests that ask for it pay.
    """
    pytest.importorskip("diffusers", reason="the extra 'generate' is not installed")
    from tiny_models import model_factory

    return model_factory(tmp_path_factory.mktemp("tiny-models"))
