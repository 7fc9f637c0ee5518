"""MNIST as a Metaflow flow. What flows from step to step is kept as artifacts, in .metaflow."""

import digits
from metaflow import FlowSpec, step

# Constants, not Parameters: `resume` takes Parameters and Configs from the run that it resumes, but the code as it is.
HIDDEN = 512
EPOCHS = 20
THRESHOLD = 0.5


class Mnist(FlowSpec):
    """From the raw files in data/raw to a registered model."""

    @step(start=True)
    def validate(self) -> None:
        """Check the raw data."""
        self.report = digits.validate(*digits.read("data/raw"))
        self.next(self.preprocess)

    @step
    def preprocess(self) -> None:
        """Make arrays of the raw data."""
        self.x_train, self.y_train, self.x_test, self.y_test = digits.preprocess(*digits.read("data/raw"))
        self.next(self.train)

    @step
    def train(self) -> None:
        """Train the network."""
        self.model = digits.train(self.x_train, self.y_train, HIDDEN, EPOCHS)
        self.next(self.evaluate)

    @step
    def evaluate(self) -> None:
        """Evaluate the network on the test split."""
        self.metrics = digits.evaluate(self.model, self.x_test, self.y_test)
        self.next(self.register)

    @step(end=True)
    def register(self) -> None:
        """Register the network in MLflow where it is good enough."""
        self.registered = digits.register(self.model, self.metrics, HIDDEN, EPOCHS, THRESHOLD)


if __name__ == "__main__":
    Mnist()
