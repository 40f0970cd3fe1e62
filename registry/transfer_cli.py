"""``countermark registry``: export, import."""

import typer

__all__ = ["transfer_app"]

transfer_app = typer.Typer()
