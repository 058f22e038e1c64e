"""A strategy as a fit takes it: where its outer step is a user's function, with the program that was made of it."""

from __future__ import annotations

from typing import Any

from stoker.strategy import Settings, as_strategy


def as_compiled(value: Any) -> Settings:
    """What stoker.strategy.as_strategy gives, without functions, so that it can be saved and sent. CompileError says
    what a function may not do."""
    told = as_strategy(value)
    if not callable(told.get("outer")):
        return told
    from stoker.frontend.outer import compile_outer

    return {**told, "outer": compile_outer(told["outer"], told["state"])}
