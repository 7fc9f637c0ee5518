"""What a training on new recordings begins with; the settings of the example spoken-digits."""

from components.recipes.defaults import FALLS, FIND_LR, OPTIMIZERS, STOPPING, Chosen, batch_size, epochs


def training(rows: int, answer: str) -> Chosen:  # noqa: ARG001 - the same for all answers
    """Return settings of `train` for about so many training recordings."""
    batch, why = batch_size(rows, 32, 128, 100)
    return {
        "epochs": (epochs(rows, batch, 3_000, 10, 60), FALLS),
        "batch_size": (batch, why),
        "optimizer": ("adamw", OPTIMIZERS),
        "learning_rate": (0.003, FIND_LR),
        "schedule": ({"name": "cosine", "warmup": 1.5}, "of the learning rate"),
        "dropout": (0.2, "of hidden units"),
        "early_stopping": (8, STOPPING),
        "augment": (
            {"time_shift": 0.1, "time_mask": 0.15, "frequency_mask": 0.15},
            "Park and others (2019), SpecAugment: https://arxiv.org/abs/1904.08779",
        ),
    }
