"""Makes references.npz: torch's recurrent layers and attention, values and gradients.

Needs torch, which the tests do not:

    python tests/golden/recurrent/make_references.py

Everything is computed in float64 on the CPU. The scalar that gradients are taken of is
the sum of all outputs, each times a fixed number (`weigh`).
"""

import math
from pathlib import Path

import numpy as np
import torch

BATCH, TIME, WIDTH, HIDDEN, LAYERS = 3, 5, 4, 3, 2
LENGTHS = (5, 2, 4)
FILE = Path(__file__).with_name("references.npz")


def weigh(x):
    """The sum of all elements, the i-th times cos(i)."""
    return (x.reshape(-1) * torch.cos(torch.arange(x.numel(), dtype=x.dtype))).sum()


def filled(module, scale):
    """Reproducible weights, not too small for the gates to matter."""
    generator = torch.Generator().manual_seed(len(list(module.parameters())))
    for parameter in module.parameters():
        shape = parameter.shape
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        parameter.data = scale * noise
    return module.double()


def recurrent(kind, made):
    layer = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[kind](
        WIDTH, HIDDEN, LAYERS, bidirectional=True, batch_first=True
    )
    filled(layer, 0.7)
    x = torch.randn(BATCH, TIME, WIDTH, dtype=torch.float64, requires_grad=True)
    starts = [
        torch.randn(2 * LAYERS, BATCH, HIDDEN, dtype=torch.float64, requires_grad=True)
        for _ in range(2 if kind == "lstm" else 1)
    ]
    given = tuple(starts) if kind == "lstm" else starts[0]
    for name, lengths in (("full", (TIME,) * BATCH), ("padded", LENGTHS)):
        packed = torch.nn.utils.rnn.pack_padded_sequence(
            x, torch.tensor(lengths), batch_first=True, enforce_sorted=False
        )
        output, last = layer(packed, given)
        output, _ = torch.nn.utils.rnn.pad_packed_sequence(
            output, batch_first=True, total_length=TIME
        )
        lasts = list(last) if kind == "lstm" else [last]
        total = weigh(output) + sum(weigh(value) for value in lasts)
        leaves = [x, *starts, *layer.parameters()]
        names = ["x", *("start_h", "start_c")[: len(starts)]]
        names += [n for n, _ in layer.named_parameters()]
        gradients = torch.autograd.grad(total, leaves)
        made[f"{kind}/{name}/output"] = output
        for part, value in zip("hc", lasts, strict=False):
            made[f"{kind}/{name}/last_{part}"] = value
        for leaf, gradient in zip(names, gradients, strict=True):
            made[f"{kind}/{name}/gradient/{leaf}"] = gradient
    for leaf, value in zip(names, leaves, strict=True):
        made[f"{kind}/{leaf}"] = value


def positions(length, width):
    """Section 3.5, one number after the other."""
    angle = lambda t, i: t / 10000 ** (2 * (i // 2) / width)
    rows = [
        [(math.cos if i % 2 else math.sin)(angle(t, i)) for i in range(width)]
        for t in range(length)
    ]
    return torch.tensor(rows, dtype=torch.float64)


def attention(made):
    width, heads = 8, 2
    layer = filled(torch.nn.MultiheadAttention(width, heads, batch_first=True), 0.5)
    query = torch.randn(BATCH, 3, width, dtype=torch.float64, requires_grad=True)
    memory = torch.randn(BATCH, TIME, width, dtype=torch.float64, requires_grad=True)
    absent = torch.arange(TIME)[None] >= torch.tensor(LENGTHS)[:, None]
    output, weights = layer(
        query, memory, memory, key_padding_mask=absent, average_attn_weights=False
    )
    finish("attention", layer, [query, memory], ["query", "memory"], output, made)
    made["attention/weights"] = weights

    block = torch.nn.TransformerEncoderLayer(
        width, heads, 12, dropout=0.0, batch_first=True, norm_first=True
    )
    encoder = torch.nn.TransformerEncoder(
        block, LAYERS, norm=torch.nn.LayerNorm(width), enable_nested_tensor=False
    )
    filled(encoder, 0.5)
    x = torch.randn(BATCH, TIME, width, dtype=torch.float64, requires_grad=True)
    given = x + positions(TIME, width)[None]
    output = encoder(given, src_key_padding_mask=absent)
    output = torch.where(absent[:, :, None], 0, output)
    finish("encoder", encoder, [x], ["x"], output, made)


def finish(kind, layer, inputs, names, output, made):
    leaves = [*inputs, *layer.parameters()]
    names = [*names, *(name for name, _ in layer.named_parameters())]
    gradients = torch.autograd.grad(weigh(output), leaves)
    made[f"{kind}/output"] = output
    for name, leaf, gradient in zip(names, leaves, gradients, strict=True):
        made[f"{kind}/{name}"], made[f"{kind}/gradient/{name}"] = leaf, gradient


def main():
    torch.manual_seed(0)
    made = {}
    for kind in ("rnn", "lstm", "gru"):
        recurrent(kind, made)
    attention(made)
    arrays = {n: v.detach().numpy().astype(np.float32) for n, v in made.items()}
    np.savez_compressed(FILE, **arrays)


if __name__ == "__main__":
    main()
