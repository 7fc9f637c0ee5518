"""The reference of bench/pipeline.py: the plainest script that trains such a model on MNIST; it says what it did.

python bench/seed.py FOLDER EPOCHS SEED. What it says of the test images comes after its work, and is timed, so that the
bench takes it off: the script as one would type it ends with the training.
"""

import gzip
import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

folder, epochs, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
keras.utils.set_random_seed(seed)


def read(name: str, head: int) -> np.ndarray:
    return np.frombuffer(gzip.decompress((folder / f"{name}-ubyte.gz").read_bytes()), np.uint8, offset=head)


labels = read("train-labels-idx1", 8)
x = read("train-images-idx3", 16).reshape(len(labels), -1).astype("float32") / 255
train = len(x) * 4 // 5  # the rest validates: what Keras does for validation_split=0.2
model = keras.Sequential([keras.layers.Dense(512, activation="relu"), keras.layers.Dense(10, activation="softmax")])
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
held = (x[train:], labels[train:])
fitted = model.fit(x[:train], labels[:train], batch_size=128, epochs=epochs, validation_data=held, verbose=0)
ended = time.perf_counter()
asked = read("t10k-labels-idx1", 8)
pixels = read("t10k-images-idx3", 16).reshape(len(asked), -1).astype("float32") / 255
done = {
    "model": ", ".join(f"{type(layer).__name__} {layer.units} {layer.activation.__name__}" for layer in model.layers),
    "parameters": model.count_params(),
    "epochs": len(fitted.epoch),
    "examples an epoch": train,
    "validation examples": len(held[0]),
    "validation accuracy": fitted.history["val_accuracy"][-1],
    "test examples": len(asked),
    "test accuracy": float((model.predict(pixels, batch_size=1000, verbose=0).argmax(1) == asked).mean()),
    "seconds of testing": time.perf_counter() - ended,
}
print(json.dumps(done))
