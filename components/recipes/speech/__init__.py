"""Recipe speech: what is said in a recording, as a text."""
