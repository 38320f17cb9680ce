"""Few labels: learning from examples without one beside those that have one."""
