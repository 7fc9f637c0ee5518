"""What a training on new series begins with; the settings of the examples sunspots and temperatures."""

from components.recipes.defaults import AT_MOST, OPTIMIZERS, STOPPING, Chosen, batch_size, epochs


def training(rows: int, answer: str) -> Chosen:  # noqa: ARG001 - they all predict numbers
    """Return settings of `train` for about so many training windows."""
    batch, why = batch_size(rows, 32, 256, 100)
    return {
        "epochs": (epochs(rows, batch, 10_000, 20, 200), AT_MOST),
        "batch_size": (batch, why),
        "optimizer": ("adam", OPTIMIZERS),
        "learning_rate": (0.0003, "neighbouring windows are alike: small steps"),
        "loss": ("mae", "what MASE, the metric of forecasts, measures"),
        "dropout": (0.5, "of the history, which is redundant"),
        "early_stopping": (15, STOPPING),
    }
