"""Makes optimizers.json: ten steps of torch's update rules on a small quartic.

Run it with an interpreter that has torch: `python tests/golden/optimizers.py`.
"""

import json
from pathlib import Path

import torch

RULES = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, weight_decay=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.1),
    "nesterov": lambda p: torch.optim.SGD(
        p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.1
    ),
    "adam": lambda p: torch.optim.Adam(p, lr=0.05, weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.05, weight_decay=0.1),
}


def trajectory(make):
    x = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64, requires_grad=True)
    rule, points = make([x]), []
    scale = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    for _ in range(10):
        rule.zero_grad()
        ((scale * x**2).sum() + (x**4).sum() / 4).backward()
        rule.step()
        points.append(x.detach().tolist())
    return points


if __name__ == "__main__":
    found = {name: trajectory(make) for name, make in RULES.items()}
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(found, indent=1) + "\n")
