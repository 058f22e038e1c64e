"""What torch keeps of a trace when the trace is over, which a driver of many fits would gather."""

from __future__ import annotations

from torch.fx.experimental.symbolic_shapes import ShapeEnv


def forget(shapes: ShapeEnv) -> None:
    """Lets go of what one trace knew of shapes. Sizes of its tensors lead back to it through C++, where Python's
    garbage collector sees no circle; and caches of its methods, which have no bound, hold the instance.
    """
    shapes.fake_tensor_cache.clear()
    shapes.tracked_fakes = None
    for method in vars(ShapeEnv).values():
        if clear := getattr(method, "cache_clear", None):
            clear()  # whoever else traces finds the results again, a little later
