"""The built-in models by name; only strings, so that listing them imports nothing."""

from __future__ import annotations

MODELS: dict[str, str] = {
    "logistic": "umbel.models.reference:logistic",
    "mlp": "umbel.models.reference:mlp",
    "2nn": "umbel.models.reference:two_nn",
    "cnn": "umbel.models.reference:cnn",
    "lenet": "umbel.models.reference:lenet",
    "minilm": "umbel.models.carried:minilm",
    "efficientnet-lite0": "umbel.models.carried:efficientnet_lite0",
}
"""Factories `f(schema: Schema, *, parameters) -> nn.Module`."""
