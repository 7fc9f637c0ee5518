"""What a training on a new table begins with: tried on tables that were not among the examples."""

from components.recipes.defaults import AT_MOST, FIND_LR, OPTIMIZERS, STOPPING, Chosen, batch_size


def training(rows: int, answer: str) -> Chosen:
    """Return settings of `train` for about so many training examples.

    AdamW with a strong decay and dropout: Gorishniy, Rubachev, Khrulkov and Babenko (2021), "Revisiting Deep Learning
    Models for Tabular Data", https://arxiv.org/abs/2106.11959, appendix E. Numbers are predicted with less dropout,
    which adds noise to them.
    """
    return {
        "epochs": (100, AT_MOST),
        "batch_size": batch_size(rows, 32, 512, 40),
        "optimizer": ("adamw", OPTIMIZERS),
        "learning_rate": (0.001, FIND_LR),
        "weight_decay": (0.05, "tables are small: what is not needed stays near zero"),
        "dropout": (0.1, "little: it adds noise to numbers") if answer == "regression" else (0.3, "of hidden units"),
        "early_stopping": (16, STOPPING),
    }
