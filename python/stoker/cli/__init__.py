"""Commands for a shell, spark-submit and schedulers: each a thin face of what the package does."""

from stoker.cli.main import main

__all__ = ["main"]
