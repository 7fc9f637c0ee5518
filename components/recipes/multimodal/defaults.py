"""What a training on new examples of several modalities begins with."""

from components.recipes.defaults import AT_MOST, FIND_LR, OPTIMIZERS, STOPPING, Chosen, batch_size, epochs


def training(rows: int, answer: str) -> Chosen:  # noqa: ARG001 - the same for all answers
    """Return settings of `train` for about so many training examples."""
    batch, why = batch_size(rows, 32, 128, 100)
    return {
        "epochs": (epochs(rows, batch, 4_000, 10, 60), AT_MOST),
        "batch_size": (batch, why),
        "optimizer": ("adamw", OPTIMIZERS),
        "learning_rate": (0.001, FIND_LR),
        "schedule": ({"name": "cosine", "warmup": 1.0}, "of the learning rate"),
        "dropout": (0.2, "of hidden units"),
        "early_stopping": (8, STOPPING),
    }
