"""The models whose training programs must equal PyTorch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from conformance.harness import ROWS, Case


def floats(*shape: int) -> torch.Tensor:
    return torch.randn(ROWS, *shape)


def classes(count: int, *shape: int) -> torch.Tensor:
    return torch.randint(0, count, (ROWS, *shape))


def mlp() -> Case:
    model = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 5))
    return Case(model, nn.CrossEntropyLoss(), {"x": floats(12)}, {"y": classes(5)})


def regression_mlp() -> Case:
    model = nn.Sequential(nn.Linear(12, 16), nn.GELU(), nn.Linear(16, 1))
    label = floats()

    def reference(loss, outputs, labels, weight):
        return loss(outputs.reshape(-1), labels)

    return Case(model, nn.MSELoss(), {"x": floats(12)}, {"y": label}, reference=reference)


def binary_mlp() -> Case:
    model = nn.Sequential(nn.Linear(12, 16), nn.SiLU(), nn.Linear(16, 1))

    def reference(loss, outputs, labels, weight):
        return loss(outputs.reshape(-1), labels.float())

    return Case(model, nn.BCEWithLogitsLoss(), {"x": floats(12)}, {"y": classes(2)}, reference=reference)


def cnn_with_batch_norm_and_dropout() -> Case:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout2d(0.3),
        nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(8 * 4, 4),
    )  # fmt: skip
    return Case(model, nn.CrossEntropyLoss(), {"x": floats(3, 8, 8)}, {"y": classes(4)})


class Block(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        y = F.relu(self.norm(self.first(x)), inplace=True)
        return F.relu(x + self.second(y))


def residual() -> Case:
    model = nn.Sequential(
        nn.Conv2d(3, 6, 1), Block(6), Block(6), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)
    )
    return Case(model, nn.CrossEntropyLoss(), {"x": floats(3, 6, 6)}, {"y": classes(4)})


def depthwise() -> Case:
    model = nn.Sequential(
        nn.Conv2d(4, 8, 3, groups=4),
        nn.Hardswish(),
        nn.Conv2d(8, 6, 1),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(24, 3),
    )
    return Case(model, nn.CrossEntropyLoss(), {"x": floats(4, 6, 6)}, {"y": classes(3)})


class Recurrent(nn.Module):
    def __init__(self, layer: nn.Module, width: int):
        super().__init__()
        self.layer = layer
        self.head = nn.Linear(width, 3)

    def forward(self, x):
        states, _ = self.layer(x)
        return self.head(states[:, -1])


def lstm() -> Case:
    model = Recurrent(nn.LSTM(5, 6, num_layers=2, batch_first=True, dropout=0.2), 6)
    return Case(model, nn.CrossEntropyLoss(), {"x": floats(7, 5)}, {"y": classes(3)})


def gru() -> Case:
    model = Recurrent(nn.GRU(5, 6, bidirectional=True, batch_first=True), 12)
    return Case(model, nn.CrossEntropyLoss(), {"x": floats(7, 5)}, {"y": classes(3)})


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
        self.embed = nn.Embedding(11, 8)
        self.register_buffer("positions", torch.randn(6, 8), persistent=False)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(8, 3)

    def forward(self, tokens):
        return self.head(self.encoder(self.embed(tokens) + self.positions).mean(1))


def transformer_encoder() -> Case:
    return Case(Encoder(), nn.CrossEntropyLoss(), {"tokens": classes(11, 6)}, {"y": classes(3)})


class EmbeddingMlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.user, self.item = nn.Embedding(9, 4), nn.Embedding(7, 4, padding_idx=0)
        self.mlp = nn.Sequential(nn.Linear(11, 8), nn.ReLU(), nn.Linear(8, 1))

    def forward(self, user, item, numbers):
        return self.mlp(torch.cat([self.user(user), self.item(item), numbers], dim=1)).squeeze()


def embedding_mlp() -> Case:
    inputs = {"user": classes(9), "item": classes(7), "numbers": floats(3)}
    return Case(EmbeddingMlp(), nn.MSELoss(), inputs, {"y": floats()})


def autoencoder() -> Case:
    x = floats(12)
    model = nn.Sequential(nn.Linear(12, 4), nn.ReLU(), nn.Linear(4, 12))
    return Case(model, nn.MSELoss(), {"x": x}, {"y": x.clone()})


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(4, 6), nn.Bilinear(3, 3, 6)

    def forward(self, right, left):
        return (self.left(left) * self.right(right, right)).sum(1, keepdim=True)


def multi_input() -> Case:
    return Case(TwoInputs(), nn.L1Loss(), {"left": floats(4), "right": floats(3)}, {"y": floats(1)})


class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.kind, self.size = nn.Linear(6, 8), nn.Linear(8, 3), nn.Linear(8, 1)

    def forward(self, x):
        hidden = torch.relu(self.body(x))
        return {"kind": self.kind(hidden), "size": self.size(hidden)}


def two_head_loss(outputs, labels):
    return F.cross_entropy(outputs["kind"], labels["kind"]) + F.mse_loss(outputs["size"][:, 0], labels["size"])


def multi_output() -> Case:
    return Case(TwoHeads(), two_head_loss, {"x": floats(6)}, {"kind": classes(3), "size": floats()})


def custom_loss() -> Case:
    def focal(outputs, labels):
        chance = torch.softmax(outputs, 1).gather(1, labels[:, None])[:, 0]
        return -((1 - chance) ** 2) * chance.log()

    model = nn.Sequential(nn.Linear(6, 8), nn.ELU(), nn.Linear(8, 3))

    def reference(loss, outputs, labels, weight):
        return loss(outputs, labels).mean()

    return Case(model, focal, {"x": floats(6)}, {"y": classes(3)}, reduction="none", reference=reference)


class Margin(nn.Module):
    """A loss with a trainable parameter and a buffer."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.register_buffer("shift", torch.tensor([0.1, -0.2, 0.3]))

    def forward(self, outputs, labels):
        return F.cross_entropy(outputs * self.scale + self.shift, labels)


def loss_with_parameters() -> Case:
    return Case(nn.Linear(6, 3), Margin(), {"x": floats(6)}, {"y": classes(3)})


def class_weights() -> Case:
    loss = nn.CrossEntropyLoss(weight=torch.tensor([0.5, 2.0, 1.0]), label_smoothing=0.1)
    return Case(nn.Linear(6, 3), loss, {"x": floats(6)}, {"y": classes(3)})


def ignore_index() -> Case:
    labels = classes(3)
    labels[[1, 4, 5]] = -100
    return Case(nn.Linear(6, 3), nn.CrossEntropyLoss(), {"x": floats(6)}, {"y": labels})


def ignored_class_with_weights() -> Case:
    labels = torch.tensor([0, 1, 2, 2, 1, 0, 1, 0])
    loss = nn.CrossEntropyLoss(weight=torch.tensor([0.5, 2.0, 1.0]), ignore_index=2)
    return Case(nn.Linear(6, 3), loss, {"x": floats(6)}, {"y": labels})


def sample_weights() -> Case:
    def reference(loss, outputs, labels, weight):
        return (F.cross_entropy(outputs, labels, reduction="none") * weight).sum() / weight.sum()

    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    weight = torch.tensor([1.0, 0.0, 2.0, 0.5, 1.0, 3.0, 0.25, 0.25])
    return Case(model, nn.CrossEntropyLoss(), {"x": floats(6)}, {"y": classes(3)}, weight, reference=reference)


def sample_and_class_weights() -> Case:
    table = torch.tensor([0.5, 2.0, 1.0])

    def reference(loss, outputs, labels, weight):
        each = F.cross_entropy(outputs, labels, table, reduction="none", ignore_index=-1)
        mass = torch.where(labels == -1, 0.0, table[labels.clamp(min=0)])
        return (each * weight).sum() / (mass * weight).sum()

    labels = torch.tensor([0, 1, -1, 2, 1, 0, -1, 0])
    loss = nn.CrossEntropyLoss(weight=table, ignore_index=-1)
    return Case(nn.Linear(6, 3), loss, {"x": floats(6)}, {"y": labels}, torch.rand(ROWS), reference=reference)


def frozen_layers() -> Case:
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    for parameter in model[:2].parameters():
        parameter.requires_grad_(False)
    return Case(model, nn.CrossEntropyLoss(), {"x": floats(6)}, {"y": classes(3)})


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.mix = nn.Embedding(7, 5), nn.Linear(5, 5)
        self.out = nn.Linear(5, 7, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, token):
        return self.out(torch.relu(self.mix(self.embed(token))))


def tied_weights() -> Case:
    return Case(Tied(), nn.CrossEntropyLoss(), {"token": classes(7)}, {"y": classes(7)})


def norms() -> Case:
    model = nn.Sequential(
        nn.Conv1d(4, 8, 3), nn.GroupNorm(4, 8), nn.ReLU(), nn.InstanceNorm1d(8, affine=True), nn.Flatten(),
        nn.LayerNorm(48), nn.Linear(48, 6), nn.RMSNorm(6), nn.Linear(6, 2),
    )  # fmt: skip
    return Case(model, nn.CrossEntropyLoss(), {"x": floats(4, 8)}, {"y": classes(2)})


class PartlyWithoutGradient(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        with torch.no_grad():
            scale = self.a(x).abs().mean(1, keepdim=True)
            with torch.enable_grad():
                inner = self.b(x * scale)
        return self.c(self.a(x) / (1 + scale) + inner)


def without_gradient_inside() -> Case:
    return Case(PartlyWithoutGradient(), nn.CrossEntropyLoss(), {"x": floats(6)}, {"y": classes(3)})


class MatmulAdd(nn.Module):
    def __init__(self):
        super().__init__()
        self.kernel, self.bias = nn.Parameter(torch.randn(6, 4) / 8), nn.Parameter(torch.randn(4) / 8)
        self.scale = torch.tensor([1.0, 2.0, 0.5, 4.0])

    def forward(self, x):
        x.mul_(2.0)  # the caller's rows must stay
        parts = (torch.matmul(x, self.kernel) + self.bias).split(2, dim=1)
        return torch.cat(parts[::-1], 1) * self.scale * torch.tensor([1.0, 2.0, 3.0, 4.0])


def matmul_add_and_literals() -> Case:
    return Case(MatmulAdd(), nn.CrossEntropyLoss(), {"x": floats(6)}, {"y": classes(4)})


def segmentation() -> Case:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    return Case(model, nn.CrossEntropyLoss(), {"x": floats(3, 4, 4)}, {"y": classes(2, 4, 4)})


MODELS = [
    mlp, regression_mlp, binary_mlp, cnn_with_batch_norm_and_dropout, residual, depthwise, lstm, gru,
    transformer_encoder, embedding_mlp, autoencoder, multi_input, multi_output, custom_loss, loss_with_parameters,
    class_weights, ignore_index, ignored_class_with_weights, sample_weights, sample_and_class_weights, frozen_layers,
    tied_weights, norms, without_gradient_inside, matmul_add_and_literals, segmentation,
]  # fmt: skip
