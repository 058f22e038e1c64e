"""Keras' batch normalisation while it is traced: ATen's, with Keras' biased variance in the moving statistics."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional


def batch_norm(original: Callable) -> Callable:
    def call(self, inputs, training=None, mask=None):
        if mask is not None or self.renorm or self.synchronized or inputs.dtype != torch.float32:
            return original(self, inputs, training=training, mask=mask)
        channels = inputs.movedim(self.axis, 1)
        gamma = self.gamma.value if self.scale else None
        beta = self.beta.value if self.center else None
        mean, variance = self.moving_mean.value, self.moving_variance.value
        if training and self.trainable:
            outputs = _by_batch(self, channels, gamma, beta, mean, variance)
        else:
            outputs = functional.batch_norm(channels, mean, variance, gamma, beta, False, 0.0, self.epsilon)
        return outputs.movedim(1, self.axis)

    return call


def _by_batch(layer, channels, gamma, beta, moving_mean, moving_variance):
    # No torch.no_grad: torch.export takes apart each block of it, which was half of the time to compile.
    outputs, mean, inverse = torch.native_batch_norm(channels, gamma, beta, None, None, True, 0.0, layer.epsilon)
    variance = inverse.detach().square().reciprocal() - layer.epsilon
    layer.moving_mean.assign(moving_mean * layer.momentum + mean.detach() * (1.0 - layer.momentum))
    layer.moving_variance.assign(moving_variance * layer.momentum + variance * (1.0 - layer.momentum))
    return outputs
