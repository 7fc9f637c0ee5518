"""Series: what an example is (example), its networks, how raw files are read (source)."""
