"""What a training on new recordings with transcripts begins with; the settings of the example connected-digits."""

from components.recipes.defaults import FALLS, FIND_LR, OPTIMIZERS, STOPPING, Chosen, batch_size, epochs


def training(rows: int, answer: str) -> Chosen:  # noqa: ARG001 - there is one kind of answer
    """Return settings of `train` for about so many training recordings."""
    batch, why = batch_size(rows, 16, 32, 100)
    return {
        "epochs": (epochs(rows, batch, 4_000, 10, 60), FALLS),
        "batch_size": (batch, why),
        "optimizer": ("adamw", OPTIMIZERS),
        "learning_rate": (0.001, FIND_LR),
        "schedule": ({"name": "cosine", "warmup": 2.0}, "of the learning rate"),
        "clip_norm": (5.0, "of all gradients together: early on, CTC's are large now and then"),
        "dropout": (0.1, "of hidden units"),
        "early_stopping": (10, STOPPING),
        "augment": (
            {"time_mask": 0.05, "frequency_mask": 0.2},
            "Park and others (2019), SpecAugment: https://arxiv.org/abs/1904.08779; a short mask hides no whole word",
        ),
    }
