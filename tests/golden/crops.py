"""Makes crops.json: deciles of the windows that torchvision's RandomResizedCrop draws.

Run it with an interpreter that has torchvision: `python tests/golden/crops.py`.
"""

import json
from pathlib import Path

import numpy as np
import torch
from torchvision.transforms import RandomResizedCrop

SIDE, DRAWS = 256, 200_000


def main():
    torch.manual_seed(0)
    image = torch.zeros(3, SIDE, SIDE)
    scale, ratio = [0.08, 1.0], [3 / 4, 4 / 3]
    draws = [RandomResizedCrop.get_params(image, scale, ratio) for _ in range(DRAWS)]
    y, x, height, width = np.array(draws, float).T
    numbers = {
        "area": height * width / SIDE**2,
        "log_ratio": np.log(width / height),
        "middle_y": (y + height / 2) / SIDE,
        "middle_x": (x + width / 2) / SIDE,
    }
    deciles = {
        name: np.quantile(values, np.linspace(0.1, 0.9, 9)).round(4).tolist()
        for name, values in numbers.items()
    }
    path = Path(__file__).with_name("crops.json")
    path.write_text(json.dumps({"side": SIDE, "deciles": deciles}, indent=1) + "\n")


if __name__ == "__main__":
    main()
