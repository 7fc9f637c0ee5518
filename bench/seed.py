"""The reference of bench/pipeline.py: the plainest script that trains such a model on MNIST; it says what it did."""

import gzip
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

folder, epochs = Path(sys.argv[1]), int(sys.argv[2])
images = np.frombuffer(gzip.decompress((folder / "train-images-idx3-ubyte.gz").read_bytes()), np.uint8, offset=16)
labels = np.frombuffer(gzip.decompress((folder / "train-labels-idx1-ubyte.gz").read_bytes()), np.uint8, offset=8)
x = images.reshape(-1, 784).astype("float32") / 255
train = len(x) * 4 // 5  # the rest validates: what Keras does for validation_split=0.2
model = keras.Sequential([keras.layers.Dense(512, activation="relu"), keras.layers.Dense(10, activation="softmax")])
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
held = (x[train:], labels[train:])
fitted = model.fit(x[:train], labels[:train], batch_size=128, epochs=epochs, validation_data=held, verbose=0)
done = {
    "model": ", ".join(f"{type(layer).__name__} {layer.units} {layer.activation.__name__}" for layer in model.layers),
    "parameters": model.count_params(),
    "epochs": len(fitted.epoch),
    "examples an epoch": train,
    "validation examples": len(held[0]),
    "validation accuracy": fitted.history["val_accuracy"][-1],
}
print(json.dumps(done))
