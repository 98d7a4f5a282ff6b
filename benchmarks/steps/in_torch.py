"""The workloads in PyTorch; its environment needs nothing but torch."""

import itertools
import sys
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from serve import SIZES, Built, serve
from torch import nn


def pooled(*layers: nn.Module) -> nn.Sequential:
    """Layers, and a 2x2 max pool."""
    return nn.Sequential(*layers, nn.MaxPool2d(2))


class Block(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int, projected: bool) -> None:
        super().__init__()
        conv = lambda i, o, side, s: nn.Conv2d(i, o, side, s, side // 2, bias=False)
        self.body = nn.Sequential(
            conv(inputs, width, 3, stride),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            conv(width, width, 3, 1),
            nn.BatchNorm2d(width),
        )
        self.stride, self.more = stride, width - inputs
        self.skip = None
        if self.more and projected:
            skip = conv(inputs, width, 1, stride)
            self.skip = nn.Sequential(skip, nn.BatchNorm2d(width))

    def forward(self, x: Any) -> Any:
        y = self.body(x)
        if self.skip is not None:
            x = self.skip(x)
        elif self.more:
            half = self.more // 2
            x = x[:, :, :: self.stride, :: self.stride]
            x = F.pad(x, (0, 0, 0, 0, half, self.more - half))
        return F.relu(x + y)


class ResNet(nn.Sequential):
    def __init__(self, widths: Any, blocks: int, projected: bool) -> None:
        inputs = widths[0]
        layers: list[nn.Module] = [
            nn.Conv2d(3, inputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(inputs),
            nn.ReLU(),
        ]
        for stage, width in enumerate(widths):
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                layers.append(Block(inputs, width, stride, projected))
                inputs = width
        super().__init__(*layers, Mean(), nn.Linear(inputs, 10))


class Mean(nn.Module):
    def forward(self, x: Any) -> Any:
        return x.mean((2, 3))


class LSTM(nn.Module):
    def __init__(self, units: int, vocabulary: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(vocabulary, units, batch_first=True)
        self.output = nn.Linear(units, vocabulary)
        self.vocabulary = vocabulary

    def forward(self, token: Any) -> Any:
        x = F.one_hot(token, self.vocabulary).float()
        return self.output(self.lstm(x)[0])


class VAE(nn.Module):
    def __init__(self, pixels: int, units: int, latent: int) -> None:
        super().__init__()
        self.encoder = nn.Linear(pixels, units)
        self.mean, self.scale = nn.Linear(units, latent), nn.Linear(units, latent)
        self.decoder, self.output = nn.Linear(latent, units), nn.Linear(units, pixels)

    def forward(self, flat: Any) -> Any:
        hidden = torch.tanh(self.encoder(flat))
        mean, scale = self.mean(hidden), self.scale(hidden)
        code = mean + torch.exp(scale) * torch.randn_like(mean)
        return self.output(torch.tanh(self.decoder(code))), mean, scale


class Captioner(nn.Module):
    def __init__(self, size: dict[str, Any]) -> None:
        super().__init__()
        units, width = size["units"], size["embedding"]
        places, attention = size["features"], size["attention"]
        self.words = nn.Embedding(size["vocabulary"], width)
        self.keys = nn.Linear(places, attention, bias=False)
        self.query = nn.Linear(units, attention)
        self.score = nn.Linear(attention, 1, bias=False)
        self.gate = nn.Linear(units, 1)
        self.cell = nn.LSTMCell(width + places, units)
        self.first = nn.ModuleList(
            nn.Sequential(nn.Linear(places, units), nn.Tanh(), nn.Linear(units, units))
            for _ in range(2)
        )
        self.from_h = nn.Linear(units, width)
        self.from_z = nn.Linear(places, width, bias=False)
        self.output = nn.Linear(width, size["vocabulary"])

    def forward(self, grid: Any, token: Any) -> Any:
        words, keys, mean = self.words(token), self.keys(grid), grid.mean(1)
        h, c = torch.tanh(self.first[0](mean)), self.first[1](mean)
        outputs, contexts = [], []
        for word in words.unbind(1):
            score = self.score(torch.tanh(self.query(h)[:, None] + keys))[..., 0]
            weights = score.softmax(-1)
            z = torch.sigmoid(self.gate(h)) * torch.einsum("bl,bld->bd", weights, grid)
            h, c = self.cell(torch.cat([word, z], -1), (h, c))
            outputs.append(h)
            contexts.append(z)
        h, z = torch.stack(outputs, 1), torch.stack(contexts, 1)
        return self.output(words + self.from_h(h) + self.from_z(z))


def classifier(name: str, size: dict[str, Any]) -> nn.Module:
    """The classifiers, on images with channels first."""
    side, channels = size["side"], size["channels"]
    if name == "mlp":
        widths = (side * side * channels, *size["widths"])
        layers = [
            part
            for a, b in itertools.pairwise(widths)
            for part in (nn.Linear(a, b), nn.ReLU())
        ]
        return nn.Sequential(nn.Flatten(), *layers, nn.Linear(widths[-1], 10))
    if name == "lenet5":
        return nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2),
            nn.ReLU(),
            nn.AvgPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.ReLU(),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(400, 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
            nn.Linear(84, 10),
        )
    if name == "convnet":
        widths = (channels, *size["filters"])
        layers = [
            pooled(nn.Conv2d(a, b, 3, padding=1), nn.ReLU())
            for a, b in itertools.pairwise(widths)
        ]
        return nn.Sequential(*layers, Mean(), nn.Linear(widths[-1], 10))
    if name == "resnet20":
        return ResNet((16, 32, 64), size["blocks"], projected=False)
    if name == "resnet18":
        return ResNet((64, 128, 256, 512), 2, projected=True)
    layers, inputs = [], channels
    for width, depth in ((64, 1), (128, 1), (256, 2), (512, 2), (512, 2)):
        for _ in range(depth):
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()]
            inputs = width
        layers.append(nn.MaxPool2d(2))
    hidden = size["hidden"]
    return nn.Sequential(
        *layers,
        nn.Flatten(),
        nn.Linear(512, hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, 10),
    )


def build(name: str, options: dict[str, Any]) -> Built:
    """One workload: plain, channels last, bfloat16 autocast, or compiled."""
    torch.manual_seed(0)
    size = SIZES[name] | options
    if options.get("channels_last") and name in ("lstm", "captioner", "vae", "mlp"):
        raise SystemExit("no convolution: channels have no place")
    model, objective = (dcgan if name == "dcgan" else single)(name, size)
    if options.get("channels_last"):
        model = model.to(memory_format=torch.channels_last)
    parts = list(model.children()) if name == "dcgan" else [model]
    betas = (0.5, 0.999) if name == "dcgan" else (0.9, 0.999)
    rules = [torch.optim.Adam(p.parameters(), 1e-3, betas) for p in parts]
    autocast = bool(options.get("autocast"))

    def losses(number: int) -> Any:
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            return objective(number)

    if options.get("compile"):
        losses = torch.compile(losses)

    def run(steps: int) -> None:
        for _ in range(steps):
            for number, rule in enumerate(rules):
                # The generator's loss has a gradient by the discriminator as well.
                model.zero_grad(set_to_none=True)
                losses(number).backward()
                rule.step()

    count = sum(p.numel() for p in model.parameters())
    versions = {"torch": torch.__version__, "python": sys.version.split()[0]}
    return Built(run, count, {"versions": versions})


def placed(image: Any, size: dict[str, Any]) -> Any:
    """Images in the memory format that is measured."""
    last = size.get("channels_last")
    return image.to(memory_format=torch.channels_last) if last else image


def single(name: str, size: dict[str, Any]) -> tuple[nn.Module, Callable[[int], Any]]:
    """A network and its loss."""
    rows = size["rows"]
    if name in ("lstm", "captioner"):
        text = torch.randint(1, size["vocabulary"], (rows, size["times"] + 1))
        given, target = text[:, :-1], text[:, 1:].flatten()
        if name == "lstm":
            model: nn.Module = LSTM(size["units"], size["vocabulary"])
            inputs: tuple[Any, ...] = (given,)
        else:
            grid = torch.randn(rows, size["places"], size["features"])
            model, inputs = Captioner(size), (grid, given)
        return model, lambda _: F.cross_entropy(model(*inputs).flatten(0, 1), target)
    image = torch.randn(rows, size["channels"], size["side"], size["side"])
    if name == "vae":
        flat = (image > 0).float().flatten(1)
        model = VAE(flat.shape[1], size["units"], size["latent"])

        def bound(_: int) -> Any:
            logits, mean, scale = model(flat)
            missed = F.binary_cross_entropy_with_logits(logits, flat, reduction="sum")
            kl = 0.5 * (torch.exp(2 * scale) + mean**2 - 1 - 2 * scale).sum()
            return (missed + kl) / rows

        return model, bound
    image, label = placed(image, size), torch.randint(0, 10, (rows,))
    model = classifier(name, size)
    return model, lambda _: F.cross_entropy(model(image), label)


def dcgan(name: str, size: dict[str, Any]) -> tuple[nn.Module, Callable[[int], Any]]:
    """Two networks, and the loss of each in turn."""
    del name
    rows, width = size["rows"], size["features"]
    up = lambda i, o, **more: nn.ConvTranspose2d(i, o, 4, 2, 1, **more)
    down = lambda i, o, **more: nn.Conv2d(i, o, 4, 2, 1, **more)
    judges = nn.Sequential(
        down(1, width),
        nn.LeakyReLU(0.2),
        down(width, 2 * width, bias=False),
        nn.BatchNorm2d(2 * width),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.Linear(49 * 2 * width, 1),
    )
    makes = nn.Sequential(
        nn.Linear(size["noise"], 49 * 2 * width, bias=False),
        nn.Unflatten(1, (2 * width, 7, 7)),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        up(2 * width, width, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        up(width, 1),
        nn.Tanh(),
    )
    real = placed(torch.randn(rows, 1, size["side"], size["side"]), size)
    xent = F.binary_cross_entropy_with_logits

    def objective(number: int) -> Any:
        noise = torch.randn(rows, size["noise"])
        if number == 0:
            on_real, on_fake = judges(real), judges(makes(noise).detach())
            return xent(on_real, torch.ones_like(on_real)) + xent(
                on_fake, torch.zeros_like(on_fake)
            )
        on_fake = judges(makes(noise))
        return xent(on_fake, torch.ones_like(on_fake))

    return nn.ModuleList([judges, makes]), objective


if __name__ == "__main__":
    serve(build)
