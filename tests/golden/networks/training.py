"""Makes training.npz: how torchvision's networks train, for `tests/models`.

Needs torch and torchvision, which the tests do not:

    PYTHONPATH=. python tests/golden/networks/training.py [name ...]

Six steps of momentum with an L2 penalty, without dropout, in float64. For thin networks
torch's own difference between float32 and float64 stands beside each number, the
largest of `RUNS` from weights that differ in the last bit: it is what another correct
float32 computation may differ by. Deep networks on batches of 8 are so ill-conditioned
that they are compared in float64 only.

The initial weights have torchvision's distributions, layer by layer (`distribution`),
but are drawn by `fill.uniform`, so that both sides can draw them. Thin networks, of the
`REPRESENTATIVES`, have a quarter of the channels and fewer blocks: they compile in a
second.
"""

import math
import sys
from pathlib import Path

import numpy as np

from tests.golden.networks.cases import CASES, FORMS, REPRESENTATIVES
from tests.golden.networks.fill import images, uniform

FILE = Path(__file__).with_name("training.npz")
CLASSES, BATCH, SIDE, STEPS = 10, 8, 64, 6
MOMENTUM, DECAY = 0.9, 0.05  # so large a decay that six steps show it
RATE = 1e-4  # larger ones make six steps of a deep network chaotic
THIN_RATE, THIN_RATES = 1e-3, {"googlenet": 1e-5}  # by name, GoogLeNet's gradients
RUNS = 3
PROBES = 2
# The thin GoogLeNet's modules before it is thinned: channels in, and of each layer.
MODULES = {
    "3b": (192, 128, 128, 192, 32, 96, 64),
    "4e": (480, 256, 160, 320, 32, 128, 128),
    "5b": (832, 384, 192, 384, 48, 128, 128),
}


def normal(name, shape):
    """Normal numbers, decided by the name alone (Box & Muller, 1958)."""
    first, second = (uniform(f"{part} of {name}", shape) for part in ("radius", "turn"))
    radius = np.sqrt(-2 * np.log(np.maximum((1 - first) / 2, np.float32(2.0**-25))))
    return radius * np.cos(np.float32(np.pi) * second)


def distribution(network, name, kernel):
    """What torchvision draws a parameter from: a kind and its scale.

    Args:
        network: Its name in torchvision.
        name: Of the parameter.
        kernel: Shape of the `weight` of the same layer.

    Returns:
        `"normal"` and the deviation, `"uniform"` and the largest value, or
        `"constant"` and the value.
    """
    bias, dense = name.endswith("bias"), len(kernel) == 2
    if len(kernel) == 1:  # a norm
        return "constant", 0.0 if bias else 1.0
    fan_in, fan_out = math.prod(kernel[1:]), kernel[0] * math.prod(kernel[2:])
    usual = "uniform", fan_in**-0.5  # torch's, where the network says nothing
    if network.startswith("alexnet"):
        return usual
    if network.startswith("googlenet"):
        return usual if bias else ("normal", 0.01)
    if network.startswith(("resnet", "resnext", "wide_resnet")):
        return usual if dense else ("normal", (2 / fan_out) ** 0.5)
    if bias:
        return "constant", 0.0
    if network.startswith("densenet"):
        return usual if dense else ("normal", (2 / fan_in) ** 0.5)
    if network.startswith("squeezenet"):
        last = name.startswith("classifier")
        return ("normal", 0.01) if last else ("uniform", (6 / fan_in) ** 0.5)
    if network.startswith("vgg"):
        return "normal", 0.01 if dense else (2 / fan_out) ** 0.5
    raise ValueError(f"{network} has no rule")


def initial_weights(network, shapes):
    """Parameters and running statistics for these names and shapes, in float32."""
    arrays = {}
    for name, shape in shapes.items():
        layer, _, leaf = name.rpartition(".")
        if leaf.startswith("running"):
            arrays[name] = np.full(shape, float(leaf == "running_var"), np.float32)
            continue
        kind, scale = distribution(network, name, shapes[f"{layer}.weight"])
        if kind == "constant":
            arrays[name] = np.full(shape, scale, np.float32)
        else:
            draw = normal if kind == "normal" else uniform
            arrays[name] = draw(f"{network} {name}", shape) * np.float32(scale)
    return arrays


def rate(case):
    """The learning rate of a case."""
    name = case.removeprefix("thin/")
    return RATE if case == name else THIN_RATES.get(name, THIN_RATE)


def batch(step):
    """Images `[b, h, w, c]` and labels of a step."""
    return images(f"step {step}", BATCH, SIDE, 3), np.arange(BATCH) * 3 % CLASSES


def sketch(name, gradient):
    """The norm of a gradient, and its products with random vectors.

    Two gradients' products differ by about the norm of their difference.
    """
    flat = np.asarray(gradient, np.float64).ravel()
    probes = (uniform(f"probe {i} of {name}", flat.shape) for i in range(PROBES))
    return np.array([np.linalg.norm(flat), *(3**0.5 * (flat @ p) for p in probes)])


def thinned(net):
    """The torch network `net` with a quarter of its channels."""
    from torch import nn

    def part(count):
        return count if count in (1, 3, CLASSES) else count // 4

    for parent in list(net.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.Conv2d):
                new = nn.Conv2d(
                    part(layer.in_channels),
                    part(layer.out_channels),
                    layer.kernel_size,
                    layer.stride,
                    layer.padding,
                    groups=part(layer.groups),
                    bias=layer.bias is not None,
                )
            elif isinstance(layer, nn.Linear):
                new = nn.Linear(part(layer.in_features), part(layer.out_features))
            elif isinstance(layer, nn.BatchNorm2d):
                new = nn.BatchNorm2d(part(layer.num_features), layer.eps)
            else:
                continue
            setattr(parent, name, new)
    return net


def thin(name):
    """A shallow network of torchvision's classes, with a quarter of the channels."""
    from torch import nn

    from tests.golden.networks.make_references import torchvision

    models, shallow = torchvision.models, (1, 1, 1, 1)
    if name == "resnet18":
        net = models.ResNet(models.resnet.BasicBlock, shallow, CLASSES)
    elif name == "resnext50_32x4d":
        block = models.resnet.Bottleneck
        net = models.ResNet(block, shallow, CLASSES, groups=32, width_per_group=4)
    elif name == "densenet121":
        net = models.DenseNet(32, (2, 2, 2, 2), 64, num_classes=CLASSES)
    elif name == "vgg11_bn":
        plan = [64, "M", 128, "M", 256, "M", 512, "M", 512, "M"]
        net = models.VGG(models.vgg.make_layers(plan, batch_norm=True), CLASSES)
        net.avgpool, net.classifier[0] = nn.AdaptiveAvgPool2d(1), nn.Linear(512, 4096)
    else:
        net = whole(name)
    if name == "googlenet":
        for child, module in list(net.named_children()):
            if child.startswith("inception"):
                plan = MODULES.get(child.removeprefix("inception"))
                setattr(net, child, type(module)(*plan) if plan else nn.Identity())
    if name == "squeezenet1_1":  # without the modules that keep the channels
        layers = [x for i, x in enumerate(net.features) if i not in (4, 7, 10, 12)]
        net.features = nn.Sequential(*layers)
    return thinned(net)


def whole(name):
    """The network of torchvision for ten classes, GoogLeNet without its extra heads."""
    from tests.golden.networks.make_references import torchvision

    options = {"init_weights": False, "aux_logits": False}
    options = options if name == "googlenet" else {}
    return getattr(torchvision.models, name)(num_classes=CLASSES, **options)


def trained(case, net, kind, nudge=0):
    """The losses of all steps and the gradients of the first, computed in `kind`.

    A `nudge` other than 0 changes the weights in the last bit, each its own.
    """
    import torch

    state = {
        name: tuple(value.shape)
        for name, value in net.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    arrays = initial_weights(case.removeprefix("thin/"), state)
    for name, array in arrays.items():
        bits = uniform(f"nudge {nudge} of {name}", array.shape)
        arrays[name] = array * (1 + bool(nudge) * np.float32(2.0**-23) * np.sign(bits))
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    net.load_state_dict(tensors, strict=False)
    net = net.to(kind).train()
    for module in net.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    rule = torch.optim.SGD(net.parameters(), rate(case), MOMENTUM, weight_decay=DECAY)
    losses, gradients = [], {}
    for step in range(STEPS):
        image, label = batch(step)
        pixels = torch.from_numpy(image.transpose(0, 3, 1, 2).copy()).to(kind)
        logits = net(pixels)
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(label))
        rule.zero_grad()
        loss.backward()
        if step == 0:
            named = net.named_parameters()
            gradients = {name: p.grad.double().numpy().copy() for name, p in named}
        rule.step()
        losses.append(loss.item())
    return np.array(losses), gradients


def main(names):
    import torch

    from tests.golden.networks.make_references import BUILDERS

    arrays = dict(np.load(FILE)) if FILE.exists() else {}
    networks = sorted(set(CASES) - set(BUILDERS) - set(FORMS))
    for case in names or [*(f"thin/{name}" for name in REPRESENTATIVES), *networks]:
        name = case.removeprefix("thin/")
        build = whole if case == name else thin
        losses, gradients = trained(case, build(name), torch.float64)
        drift, errors = np.zeros(STEPS), dict.fromkeys(gradients, 0.0)
        for nudge in range(RUNS if case != name else 0):
            single, rough = trained(case, build(name), torch.float32, nudge)
            drift = np.maximum(drift, np.abs(single - losses))
            for leaf, gradient in gradients.items():
                error = np.linalg.norm(rough.pop(leaf) - gradient)
                errors[leaf] = max(errors[leaf], error)
        rows = [[*sketch(leaf, g), errors[leaf]] for leaf, g in gradients.items()]
        arrays[f"{case}/names"] = np.array(list(gradients))
        arrays[f"{case}/gradients"] = np.array(rows, np.float32)
        arrays[f"{case}/losses"] = np.array([losses, drift])
        print(case, losses, drift, flush=True)
        np.savez_compressed(FILE, **arrays)


if __name__ == "__main__":
    main(sys.argv[1:])
