"""How ZenML keeps a Keras 3 model; its own materializer is for TensorFlow below 2.15."""

from pathlib import Path
from typing import Any, ClassVar

import keras
from zenml.enums import ArtifactType
from zenml.materializers.base_materializer import BaseMaterializer


class KerasMaterializer(BaseMaterializer):
    """Keep a Keras model as a .keras file."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (keras.Model,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.MODEL

    def load(self, data_type: type[Any]) -> Any:  # noqa: ARG002 (ZenML's signature)
        """Read the model; the local artifact store is a folder."""
        return keras.saving.load_model(Path(self.uri) / "model.keras")

    def save(self, data: Any) -> None:
        """Write the model."""
        data.save(Path(self.uri) / "model.keras")
