"""A run's model as files that others can load: `umbel export`."""
