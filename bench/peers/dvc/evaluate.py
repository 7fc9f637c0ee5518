"""Evaluate the network on the test split."""

import json
from pathlib import Path

import digits
import keras
import numpy as np

arrays = np.load("build/arrays.npz")
metrics = digits.evaluate(keras.saving.load_model("build/model.keras"), arrays["x_test"], arrays["y_test"])
Path("build/metrics.json").write_text(json.dumps(metrics))
