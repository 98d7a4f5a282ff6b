"""The networks that torchvision lacks, written from their papers in torch.

Parameters have the names that `jaxnets.models.weights` gives them; nothing else is
shared with the JAX side. Published ones that differ little are torchvision's, rebuilt.
"""

import torch
import torch.nn.functional as F
from torch import nn


class Unit(nn.Module):
    def __init__(self, inputs, outputs, side, *, norm=False, padding=None):
        super().__init__()
        padding = side // 2 if padding is None else padding
        self.conv = nn.Conv2d(inputs, outputs, side, padding=padding, bias=not norm)
        self.norm = nn.BatchNorm2d(outputs) if norm else nn.Identity()

    def forward(self, x):
        return F.relu(self.norm(self.conv(x)))


class MLP(nn.Module):
    def __init__(self, inputs, classes):
        super().__init__()
        self.dense1 = nn.Linear(inputs, 512)
        self.dense2 = nn.Linear(512, 256)
        self.output = nn.Linear(256, classes)

    def forward(self, x):
        x = x.permute(0, 2, 3, 1).flatten(1)  # an MLP reads pixel after pixel
        return self.output(F.relu(self.dense2(F.relu(self.dense1(x)))))


class Whitening(nn.Module):
    """Filters that are no parameters, each with both signs."""

    def __init__(self, components):
        super().__init__()
        self.register_buffer("weight", torch.zeros(components, 3, 4, 4))

    def forward(self, x):
        both = torch.cat([self.weight, -self.weight])
        return F.relu(F.conv2d(x, both, stride=2, padding=1))


class WhitenedConvNet(nn.Module):
    def __init__(self, classes, filters=(48, 96, 192), pools=(0, 1)):
        super().__init__()
        inputs, self.pools, self.layers = 48, pools, len(filters)
        self.whitening = Whitening(inputs // 2)
        for index, outputs in enumerate(filters):
            conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
            self.add_module(f"conv{index}", conv)
            self.add_module(f"norm{index}", nn.BatchNorm2d(outputs))
            inputs = outputs
        self.output = nn.Linear(inputs, classes)

    def forward(self, x):
        x = self.whitening(x)
        for index in range(self.layers):
            x = self.get_submodule(f"conv{index}")(x)
            if index in self.pools:
                x = F.max_pool2d(x, 2)
            x = F.relu(self.get_submodule(f"norm{index}")(x))
        return self.output(x.amax((2, 3))) / 8


class ConvNet(nn.Module):
    def __init__(self, classes, filters=(32, 64, 128, 128), pools=(0, 1, 3), norm=True):
        super().__init__()
        inputs, self.pools = 3, pools
        for index, outputs in enumerate(filters):
            self.add_module(f"conv{index}", Unit(inputs, outputs, 3, norm=norm))
            inputs = outputs
        self.layers = len(filters)
        self.output = nn.Linear(inputs, classes)

    def forward(self, x):
        for index in range(self.layers):
            x = self.get_submodule(f"conv{index}")(x)
            if index in self.pools:
                x = F.max_pool2d(x, 2)
        return self.output(x.mean((2, 3)))


class LeNet5(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.c1, self.c3 = Unit(1, 6, 5, padding=0), Unit(6, 16, 5, padding=0)
        self.c5, self.f6 = nn.Linear(400, 120), nn.Linear(120, 84)
        self.output = nn.Linear(84, classes)

    def forward(self, x):
        x = F.avg_pool2d(self.c3(F.avg_pool2d(self.c1(x), 2)), 2).flatten(1)
        return self.output(F.relu(self.f6(F.relu(self.c5(x)))))


class NIN(nn.Module):
    def __init__(self, classes):
        super().__init__()
        inputs = 3
        plan = [(5, (192, 160, 96)), (5, (192, 192, 192)), (3, (192, 192, classes))]
        for layer, (side, filters) in enumerate(plan, start=1):
            for index, outputs in enumerate(filters, start=1):
                unit = Unit(inputs, outputs, side if index == 1 else 1)
                self.add_module(f"mlpconv{layer}_{index}", unit)
                inputs = outputs

    def forward(self, x):
        for layer in (1, 2, 3):
            for index in (1, 2, 3):
                x = self.get_submodule(f"mlpconv{layer}_{index}")(x)
            if layer < 3:
                x = F.max_pool2d(x, 3, 2, ceil_mode=True)
        return x.mean((2, 3))


class CifarBlock(nn.Module):
    """He et al. 2015, figure 5 left; option A shortcuts unless `projection`."""

    def __init__(self, inputs, outputs, stride, *, projection):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.extra = stride, outputs - inputs
        self.downsample = None
        if projection and inputs != outputs:
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.downsample is not None:
            x = self.downsample(x)
        elif self.extra:
            half = self.extra // 2
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, half))
        return F.relu(x + y)


class CifarResNet(nn.Module):
    def __init__(self, classes, blocks, *, projection=False):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        inputs = 16
        for stage, outputs in enumerate((16, 32, 64), start=1):
            row = []
            for index in range(blocks):
                stride = 2 if stage > 1 and index == 0 else 1
                row.append(CifarBlock(inputs, outputs, stride, projection=projection))
                inputs = outputs
            self.add_module(f"layer{stage}", nn.Sequential(*row))
        self.fc = nn.Linear(64, classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(x.mean((2, 3)))


class PreactBlock(nn.Module):
    """He et al. 2016, figure 4e: convolutions `plan` of (channels, side, stride)."""

    def __init__(self, inputs, plan, *, first):
        super().__init__()
        outputs, stride = plan[-1][0], max(stride for _, _, stride in plan)
        self.split_after = first or inputs != outputs or stride > 1
        self.downsample = nn.Identity()
        if inputs != outputs or stride > 1:
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv)
        self.layers = len(plan)
        for index, (channels, side, step) in enumerate(plan, start=1):
            self.add_module(f"bn{index}", nn.BatchNorm2d(inputs))
            conv = nn.Conv2d(inputs, channels, side, step, side // 2, bias=False)
            self.add_module(f"conv{index}", conv)
            inputs = channels

    def forward(self, x):
        y = x
        for index in range(1, self.layers + 1):
            y = F.relu(self.get_submodule(f"bn{index}")(y))
            if index == 1:
                x = self.downsample(y) if self.split_after else x
            y = self.get_submodule(f"conv{index}")(y)
        return x + y


class PreactResNet(nn.Module):
    def __init__(self, classes, depths, widths, *, bottleneck=False, imagenet=False):
        super().__init__()
        inputs, self.imagenet = (64 if imagenet else 16), imagenet
        side, stride = (7, 2) if imagenet else (3, 1)
        self.conv1 = nn.Conv2d(3, inputs, side, stride, side // 2, bias=False)
        self.stages = len(depths)
        for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            row = []
            for index in range(depth):
                step = 2 if stage and index == 0 else 1
                plan = [(width, 3, step), (width, 3, 1)]
                if bottleneck:
                    plan = [(width, 1, 1), (width, 3, step), (4 * width, 1, 1)]
                row.append(PreactBlock(inputs, plan, first=stage == index == 0))
                inputs = plan[-1][0]
            self.add_module(f"layer{stage + 1}", nn.Sequential(*row))
        self.bn = nn.BatchNorm2d(inputs)
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x):
        x = self.conv1(x)
        if self.imagenet:
            x = F.max_pool2d(x, 3, 2, 1)
        for stage in range(1, self.stages + 1):
            x = self.get_submodule(f"layer{stage}")(x)
        return self.fc(F.relu(self.bn(x)).mean((2, 3)))


class FractalBlock(nn.Module):
    """Larsson et al., equation 1 as it stands: recursive, joins collapsed."""

    def __init__(self, inputs, outputs, columns):
        super().__init__()
        self.columns = columns
        for column in range(1, columns + 1):
            for index in range(1, 2 ** (column - 1) + 1):
                unit = Unit(inputs if index == 1 else outputs, outputs, 3, norm=True)
                self.add_module(f"column{column}_{index}", unit)

    def forward(self, x):
        calls = dict.fromkeys(range(1, self.columns + 1), 0)

        def convolve(level, z):
            column = self.columns - level + 1
            calls[column] += 1
            return self.get_submodule(f"column{column}_{calls[column]}")(z)

        def fractal(level, z):
            if level == 1:
                return [convolve(1, z)]
            middle = torch.stack(fractal(level - 1, z)).mean(0)
            return [*fractal(level - 1, middle), convolve(level, z)]

        return torch.stack(fractal(self.columns, x)).mean(0)


class FractalNet(nn.Module):
    def __init__(self, classes, columns, filters=(64, 128, 256, 512, 512)):
        super().__init__()
        inputs, self.blocks = 3, len(filters)
        for index, outputs in enumerate(filters, start=1):
            self.add_module(f"block{index}", FractalBlock(inputs, outputs, columns))
            inputs = outputs
        self.output = nn.Linear(inputs, classes)

    def forward(self, x):
        for index in range(1, self.blocks + 1):
            x = F.max_pool2d(self.get_submodule(f"block{index}")(x), 2)
        return self.output(x.mean((2, 3)))


class CifarDenseNet(nn.Module):
    """Huang et al., section 3: three blocks, a transition after the first two."""

    def __init__(self, classes, layers, growth, *, bc):
        super().__init__()
        channels = 2 * growth if bc else 16
        self.features = nn.ModuleDict()
        self.features["conv0"] = nn.Conv2d(3, channels, 3, 1, 1, bias=False)
        for block in (1, 2, 3):
            rows = nn.ModuleDict()
            for index in range(1, layers + 1):
                rows[f"denselayer{index}"] = self.layer(channels, growth, bc)
                channels += growth
            self.features[f"denseblock{block}"] = rows
            if block < 3:
                kept = channels // 2 if bc else channels
                self.features[f"transition{block}"] = nn.ModuleDict(
                    {
                        "norm": nn.BatchNorm2d(channels),
                        "conv": nn.Conv2d(channels, kept, 1, bias=False),
                    }
                )
                channels = kept
        self.features["norm4"] = nn.BatchNorm2d(channels)
        self.classifier = nn.Linear(channels, classes)

    @staticmethod
    def layer(inputs, growth, bc):
        parts = {}
        if bc:
            parts["norm1"] = nn.BatchNorm2d(inputs)
            parts["conv1"] = nn.Conv2d(inputs, 4 * growth, 1, bias=False)
            inputs = 4 * growth
        last = "2" if bc else "1"
        parts["norm" + last] = nn.BatchNorm2d(inputs)
        parts["conv" + last] = nn.Conv2d(inputs, growth, 3, 1, 1, bias=False)
        return nn.ModuleDict(parts)

    def forward(self, x):
        x = self.features["conv0"](x)
        for block in (1, 2, 3):
            for layer in self.features[f"denseblock{block}"].values():
                y = x
                for number in ("1", "2"):
                    if "norm" + number in layer:
                        y = layer["conv" + number](F.relu(layer["norm" + number](y)))
                x = torch.cat([x, y], 1)
            if block < 3:
                step = self.features[f"transition{block}"]
                x = F.avg_pool2d(step["conv"](F.relu(step["norm"](x))), 2)
        return self.classifier(F.relu(self.features["norm4"](x)).mean((2, 3)))


def response_norm():
    return nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)  # alpha is over 5


def alexnet_2012(torchvision, classes):
    net = torchvision.models.alexnet(num_classes=classes)
    layers = net.features
    layers[0] = nn.Conv2d(3, 96, 11, 4, 2)
    layers[1] = nn.Sequential(nn.ReLU(), response_norm())
    layers[3] = nn.Conv2d(96, 256, 5, 1, 2, groups=2)
    layers[4] = nn.Sequential(nn.ReLU(), response_norm())
    layers[6] = nn.Conv2d(256, 384, 3, 1, 1)
    layers[8] = nn.Conv2d(384, 384, 3, 1, 1, groups=2)
    layers[10] = nn.Conv2d(384, 256, 3, 1, 1, groups=2)
    return net


def googlenet_2014(torchvision, classes):
    google = torchvision.models.googlenet

    class Plain(nn.Module):
        def __init__(self, inputs, outputs, **options):
            super().__init__()
            self.conv = nn.Conv2d(inputs, outputs, **options)

        def forward(self, x):
            return F.relu(self.conv(x))

    module = __import__(google.__module__, fromlist=["GoogLeNet"])

    class Inception(module.Inception):
        def __init__(self, inputs, *filters):
            super().__init__(inputs, *filters, conv_block=Plain)
            old = self.branch3[1].conv
            self.branch3[1].conv = nn.Conv2d(
                old.in_channels, old.out_channels, 5, padding=2
            )

    class Auxiliary(module.InceptionAux):
        def __init__(self, *args, **options):
            super().__init__(*args, conv_block=Plain, **options)

    blocks = [Plain, Inception, Auxiliary]
    net = module.GoogLeNet(classes, aux_logits=True, init_weights=False, blocks=blocks)
    net.maxpool1 = nn.Sequential(net.maxpool1, response_norm())
    net.maxpool2 = nn.Sequential(response_norm(), net.maxpool2)
    net.maxpool4 = nn.MaxPool2d(3, 2, ceil_mode=True)
    return net
