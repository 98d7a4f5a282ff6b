"""Makes references.npz: what torch computes, for `tests/models` to compare with.

Needs torch and torchvision, which the tests do not:

    PYTHONPATH=. python tests/golden/networks/make_references.py [name ...]

Networks are torchvision's where it has them, else `twins.py`. Everything is computed in
float64 on the CPU, so that the differences that the tests see are this side's own.
"""

import sys
from pathlib import Path

import numpy as np
import torch

try:
    import torchvision
except RuntimeError:
    # A torchvision of another build lacks this operator, which no network here needs.
    torch.library.define(
        "torchvision::nms", "(Tensor dets, Tensor scores, float threshold) -> Tensor"
    )
    import torchvision

from tests.golden.networks import twins
from tests.golden.networks.cases import (
    CASES,
    CLASSES,
    DAMPING,
    IMAGES,
    TRAINING,
)
from tests.golden.networks.fill import fill, images, uniform

FILE = Path(__file__).with_name("references.npz")
BASIC, WIDE = (2, 2, 2, 2), (64, 128, 256, 512)
NARROW = (16, 32, 64)

BUILDERS = {
    "mlp": lambda k: twins.MLP(8 * 8 * 3, k),
    "convnet": twins.ConvNet,
    "small_convnet": lambda k: twins.ConvNet(k, (24, 48, 64, 64)),
    "whitened_convnet": twins.WhitenedConvNet,
    "lenet5": twins.LeNet5,
    "nin": twins.NIN,
    "alexnet_2012": lambda k: twins.alexnet_2012(torchvision, k),
    "googlenet_2014": lambda k: twins.googlenet_2014(torchvision, k),
    "fractalnet20": lambda k: twins.FractalNet(k, 3),
    "fractalnet40": lambda k: twins.FractalNet(k, 4),
}
for depth in (20, 32, 44, 56, 110, 1202):
    blocks = (depth - 2) // 6
    BUILDERS[f"resnet{depth}"] = lambda k, n=blocks: twins.CifarResNet(k, n)
    BUILDERS[f"resnet{depth}_b"] = lambda k, n=blocks: twins.CifarResNet(
        k, n, projection=True
    )
for name, depth, deep in [
    ("20", 3, False),
    ("110", 18, False),
    ("164", 18, True),
    ("1001", 111, True),
]:
    BUILDERS[f"preact_resnet{name}"] = lambda k, n=depth, deep=deep: twins.PreactResNet(
        k, (n,) * 3, NARROW, bottleneck=deep
    )
for name, depths in [
    ("18", BASIC),
    ("50", (3, 4, 6, 3)),
    ("101", (3, 4, 23, 3)),
    ("152", (3, 8, 36, 3)),
    ("200", (3, 24, 36, 3)),
]:
    BUILDERS[f"preact_resnet{name}"] = lambda k, d=depths: twins.PreactResNet(
        k, d, WIDE, bottleneck=d != BASIC, imagenet=True
    )
for depth, widen in [(16, 4), (16, 8), (28, 10), (40, 2), (40, 4)]:
    BUILDERS[f"wrn_{depth}_{widen}"] = lambda k, d=depth, w=widen: twins.PreactResNet(
        k, ((d - 4) // 6,) * 3, tuple(w * width for width in NARROW)
    )
for name, layers, growth, bc in [
    ("densenet_40_12", 12, 12, False),
    ("densenet_100_12", 32, 12, False),
    ("densenet_bc_100_12", 16, 12, True),
    ("densenet_bc_190_40", 31, 40, True),
    ("densenet_bc_250_24", 41, 24, True),
]:
    BUILDERS[name] = lambda k, n=layers, g=growth, bc=bc: twins.CifarDenseNet(
        k, n, g, bc=bc
    )


def network(name, classes=CLASSES):
    """The torch network, filled by the rule, in float64, in evaluation."""
    if name in BUILDERS:
        net = BUILDERS[name](classes)
    else:
        options = {"init_weights": False, "aux_logits": True}
        options = options if name == "googlenet" else {}
        net = getattr(torchvision.models, name)(num_classes=classes, **options)
    return filled(net, DAMPING.get(name, 1.0))


def filled(net, damping=1.0):
    """`net` with the numbers that its names say."""
    state = {
        key: torch.from_numpy(np.array(fill(key, tuple(value.shape), damping)))
        for key, value in net.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    net.load_state_dict(state, strict=False)
    return net.double().eval()


def torch_images(name, count, size, channels):
    """The images of a case, channels first."""
    array = images(name, count, size, channels).transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(array)).double()


@torch.no_grad()
def logits(name):
    """What torch says to the images of a case."""
    return network(name)(torch_images(name, IMAGES, *CASES[name])).numpy()


@torch.no_grad()
def auxiliary(name):
    """Main logits and those of both auxiliary heads in training, without dropout."""
    net = network(name).train()
    for module in net.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    output = net(torch_images(name, IMAGES, *CASES[name]))
    heads = output.logits, output.aux_logits1, output.aux_logits2
    return [head.numpy() for head in heads]


def training(*, norm):
    """Losses, first gradients, running statistics after 3 steps, parameters after 5."""
    plan, kept = TRAINING, {}
    net = twins.ConvNet(CLASSES, plan["filters"], plan["pools"], norm)
    net = filled(net).train()
    rule = torch.optim.SGD(
        net.parameters(), plan["learning_rate"], momentum=plan["momentum"]
    )
    losses = []
    for step in range(plan["steps"]):
        batch = torch_images(f"step {step}", plan["batch"], plan["size"], 3)
        labels = torch.arange(plan["batch"]) * 3 % CLASSES
        loss = torch.nn.functional.cross_entropy(net(batch), labels)
        rule.zero_grad()
        loss.backward()
        losses.append(loss.item())
        if step == 0:
            kept |= {f"gradient/{k}": p.grad.clone() for k, p in net.named_parameters()}
        rule.step()
        if step == 2:
            buffers = {k: b for k, b in net.named_buffers() if "running" in k}
            kept |= {f"buffer/{k}": b.clone() for k, b in buffers.items()}
    kept |= {f"parameter/{k}": p.detach() for k, p in net.named_parameters()}
    arrays = {name: value.numpy().astype(np.float64) for name, value in kept.items()}
    return arrays | {"losses": np.array(losses)}


def layers():
    """Norms and pools of torch on one image, channels last."""
    x = torch.from_numpy(np.array(uniform("layers", (3, 8, 7, 9)))).double()
    nn, functional = torch.nn, torch.nn.functional
    outputs = {
        "group": filled(nn.GroupNorm(4, 8))(x),
        "layer": filled(nn.GroupNorm(1, 8))(x),
        "instance": filled(nn.InstanceNorm2d(8, affine=True))(x),
        "batch": filled(nn.BatchNorm2d(8)).train()(x),
        "response": twins.response_norm()(x),
        "max": functional.max_pool2d(x, 3, 2),
        "max_ceil": functional.max_pool2d(x, 3, 2, ceil_mode=True),
        "max_ceil_padded": functional.max_pool2d(x, 2, 2, 1, ceil_mode=True),
        "max_padded": functional.max_pool2d(x, 3, 2, 1),
        "average": functional.avg_pool2d(x, 3, 2, 1),
        "adaptive3": functional.adaptive_avg_pool2d(x, 3),
        "adaptive11": functional.adaptive_avg_pool2d(x, 11),
        "conv": filled(nn.Conv2d(8, 6, 3, 2, 1, 2, 2))(x),
    }
    arrays = {k: v.detach().numpy().transpose(0, 2, 3, 1) for k, v in outputs.items()}
    return {f"layer/{name}": array for name, array in arrays.items()}


def main(names):
    arrays = dict(np.load(FILE)) if FILE.exists() else {}
    for name in names or CASES:
        arrays[f"logits/{name}"] = logits(name)
        print(name, arrays[f"logits/{name}"][0, :3])
    for name in ("googlenet", "googlenet_2014"):
        for index, values in enumerate(auxiliary(name)):
            arrays[f"auxiliary/{name}/{index}"] = values
    for norm in (True, False):
        own = {f"training/{norm}/{k}": v for k, v in training(norm=norm).items()}
        arrays |= own
    arrays |= layers()
    np.savez_compressed(FILE, **arrays)


if __name__ == "__main__":
    main(sys.argv[1:])
