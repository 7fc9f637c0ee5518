"""Register the network in MLflow where it is good enough."""

import json
from pathlib import Path

import digits
import keras
import yaml

params = yaml.safe_load(Path("params.yaml").read_text())
metrics = json.loads(Path("build/metrics.json").read_text())
done = digits.register(keras.saving.load_model("build/model.keras"), metrics, **params)
Path("build/registered.json").write_text(json.dumps(done))
