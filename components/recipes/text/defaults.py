"""What a training on new texts begins with; the settings of the examples movie-reviews and hotel-reviews."""

from components.recipes.defaults import AT_MOST, FIND_LR, OPTIMIZERS, STOPPING, Chosen, batch_size, epochs


def training(rows: int, answer: str) -> Chosen:  # noqa: ARG001 - the same for all answers
    """Return settings of `train` for about so many training examples."""
    batch, why = batch_size(rows, 32, 128, 500)
    return {
        "epochs": (epochs(rows, batch, 10_000, 4, 40), AT_MOST),
        "batch_size": (batch, why),
        "optimizer": ("adam", OPTIMIZERS),
        "learning_rate": (0.001, FIND_LR),
        "early_stopping": (3, STOPPING),
    }
