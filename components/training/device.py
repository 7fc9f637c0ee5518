"""The device that a model is fitted on, and TensorFlow's start on it."""

import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from components import SlipwayError, surroundings
from components.params import Params


def start(params: Params) -> dict[str, str | int | float]:
    """Choose the device and say what it is; deterministic operations from here on.

    Op determinism: https://www.tensorflow.org/api_docs/python/tf/config/experimental/enable_op_determinism
    """
    import psutil

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    if not surroundings.home_is_writable():  # Keras would then read /tmp/.keras, which anybody can write
        os.environ.setdefault("KERAS_HOME", os.devnull)
    with _quiet():
        import keras
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
        keras.config.set_floatx("float32")  # whatever a user's ~/.keras/keras.json says
        keras.config.set_epsilon(1e-7)
        keras.config.set_image_data_format("channels_last")
    wanted = params.train.device
    if wanted == "gpu" and not gpus:
        raise SlipwayError(
            "params.yaml: train.device: gpu, but TensorFlow finds none: `make run GPU=1` installs CUDA on Linux, "
            "`nvidia-smi` shows the driver; device: auto uses the CPU if there is no GPU"
        )
    use_gpu = bool(gpus) and wanted != "cpu"
    if use_gpu:
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, enable=True)
    elif gpus:
        tf.config.set_visible_devices([], "GPU")
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(params.seed)
    mixed = {"on": True, "off": False, "auto": use_gpu}[params.train.mixed_precision]
    name = tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU") if use_gpu else _processor()
    return {
        "device": "gpu" if use_gpu else "cpu",
        "device_name": name,
        "gpus": len(gpus) if use_gpu else 0,
        "cores": os.cpu_count() or 1,
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "mixed_precision": int(mixed),
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what TensorFlow's C++ writes to stderr while it starts; show it if the start fails."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            kept.seek(0)
            os.write(stderr, kept.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def _processor() -> str:
    """Name the processor: /proc/cpuinfo has it on Linux (proc(5)); platform knows only the architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
