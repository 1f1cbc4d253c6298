"""Several tasks in one network."""
