"""How ZenML keeps a Keras 3 model; its own materializer is for TensorFlow below 2.15."""

from pathlib import Path
from typing import Any, ClassVar

from zenml.enums import ArtifactType
from zenml.materializers.base_materializer import BaseMaterializer


class KerasMaterializer(BaseMaterializer):
    """Keep a Keras model as a .keras file; only the step that names this class uses it.

    Keras is imported where it is used, and so not named as the type: a run that finds every step in the cache would
    else pay for TensorFlow.
    """

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (object,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.MODEL
    SKIP_REGISTRATION: ClassVar[bool] = True

    def load(self, data_type: type[Any]) -> Any:  # noqa: ARG002 (ZenML's signature)
        """Read the model; the local artifact store is a folder."""
        import keras

        return keras.saving.load_model(Path(self.uri) / "model.keras")

    def save(self, data: Any) -> None:
        """Write the model."""
        data.save(Path(self.uri) / "model.keras")
