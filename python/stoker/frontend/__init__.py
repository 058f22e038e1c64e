"""Front ends: from a framework's model to a program."""

from stoker.frontend.errors import CompileError

__all__ = ["CompileError"]
