"""The named strategies and selection rules.

Only strings, so that listing them imports nothing: each target is `"module:attribute"`.
"""

_RECIPES = {
    "composed": ("composed",),
    "recipes": ("fedavg", "fedprox", "pool"),
    "recipes_averaging": (
        "fedsgd",
        "fednova",
        "fedexp",
        "qfedavg",
        "fedavgm",
        "fedadagrad",
        "fedadam",
        "fedyogi",
    ),
    "recipes_heterogeneity": ("scaffold", "feddyn", "moon", "fedlc", "fedbn", "fedper"),
    "recipes_clusters": ("gcfl",),
    "recipes_few_labels": ("semifl", "rscfed"),
    "recipes_robust": (
        "median",
        "trimmed_mean",
        "krum",
        "multi_krum",
        "bulyan",
        "geometric_median",
        "centred_clipping",
        "norm_bound",
        "fltrust",
        "validated",
    ),
}

STRATEGIES = {
    name: f"{__package__}.{module}:{name}" for module, names in _RECIPES.items() for name in names
}
"""A strategy's name and where its recipe stands."""

SELECTIONS = {
    "fraction": f"{__package__}.select:Fraction",
    "round-robin": f"{__package__}.select:RoundRobin",
    "power-of-choice": f"{__package__}.select:PowerOfChoice",
    "over-selection": f"{__package__}.select:OverSelection",
}
"""A selection rule's name and where it stands; a strategy's `select` names one."""
