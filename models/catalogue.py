"""The built-in models by name; only strings, so that listing them imports nothing."""

from __future__ import annotations

MODELS: dict[str, str] = {
    "logistic": "umbel.models.reference:logistic",
    "mlp": "umbel.models.reference:mlp",
    "2nn": "umbel.models.reference:two_nn",
    "cnn": "umbel.models.reference:cnn",
    "lenet": "umbel.models.reference:lenet",
    "gcn": "umbel.models.graph:gcn",
    "graphsage": "umbel.models.graph:graphsage",
    "gat": "umbel.models.graph:gat",
    "gin": "umbel.models.graph:gin",
    "message-passing": "umbel.models.graph:passing",
    "node-mlp": "umbel.models.graph:node_mlp",
    "minilm": "umbel.models.carried:minilm",
    "efficientnet-lite0": "umbel.models.carried:efficientnet_lite0",
}
"""Factories `f(schema: Schema, *, parameters) -> nn.Module`."""
