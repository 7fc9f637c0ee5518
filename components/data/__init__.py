"""The dataset on disk: its files, ids and splits, what DVC keeps of it, the one CSV reader, downloads."""
