"""Examples of several modalities: images, texts, recordings and the columns of a table, any of them missing."""
