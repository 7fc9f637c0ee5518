"""What flows are made of: the checkout, child processes, servers and their logs, DVC's stages as tasks."""
