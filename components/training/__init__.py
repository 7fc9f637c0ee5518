"""How a model is fitted: batches, augmentation, schedules, thresholds, checkpoints, the export to ONNX."""
