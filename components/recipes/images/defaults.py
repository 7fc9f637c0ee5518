"""What a training on new images begins with; the settings of the starter and of the example mnist-cnn."""

from components.recipes.defaults import FALLS, FIND_LR, OPTIMIZERS, STOPPING, Chosen, batch_size, epochs


def training(rows: int, answer: str) -> Chosen:  # noqa: ARG001 - the same for all answers
    """Return settings of `train` for about so many training images; what images may be turned into, nobody knows."""
    batch, why = batch_size(rows, 32, 128, 100)
    return {
        "epochs": (epochs(rows, batch, 4_000, 8, 60), FALLS),
        "batch_size": (batch, why),
        "optimizer": ("adamw", OPTIMIZERS),
        "learning_rate": (0.002, FIND_LR),
        "schedule": ({"name": "cosine", "warmup": 1.0}, "of the learning rate"),
        "dropout": (0.2, "of hidden units"),
        "early_stopping": (8, STOPPING),
    }
