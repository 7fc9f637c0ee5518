"""Train the network."""

from pathlib import Path

import digits
import numpy as np
import yaml

params = yaml.safe_load(Path("params.yaml").read_text())
arrays = np.load("build/arrays.npz")
model = digits.train(arrays["x_train"], arrays["y_train"], params["hidden"], params["epochs"])
model.save("build/model.keras")
