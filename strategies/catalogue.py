"""The named strategies."""

STRATEGIES = {name: f"{__package__}.recipes:{name}" for name in ("fedavg", "fedprox")}
"""The catalogue: a strategy's name and where its recipe stands."""
