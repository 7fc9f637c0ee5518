"""What a training on new images with boxes begins with; the settings of the example blood-cells."""

from components.recipes.defaults import FALLS, FIND_LR, OPTIMIZERS, STOPPING, Chosen, batch_size, epochs


def training(rows: int, answer: str) -> Chosen:  # noqa: ARG001 - there is one kind of answer
    """Return settings of `train` for about so many training images; whether they may be turned round, nobody knows."""
    batch, why = batch_size(rows, 8, 32, 100)
    return {
        "epochs": (epochs(rows, batch, 1_500, 20, 100), FALLS),
        "batch_size": (batch, why),
        "optimizer": ("adamw", OPTIMIZERS),
        "learning_rate": (0.002, FIND_LR),
        "weight_decay": (0.05, "of the kernels"),
        "clip_norm": (10.0, "of all gradients together: one image with many boxes must not undo the others"),
        "ema": (0.99, "the average of the weights over about the last 100 steps ships"),
        "schedule": ({"name": "cosine", "warmup": 3.0}, "of the learning rate"),
        "early_stopping": (20, STOPPING),
        "threshold": ("f1", "the least score of a box in an answer, by class, chosen on validation"),
        "augment": (
            {"crop": 0.3, "shift": 0.05, "zoom": 0.15, "brightness": 0.15},
            "boxes move with the image; add `flip: horizontal`, or both, where things may be seen in the mirror",
        ),
    }
