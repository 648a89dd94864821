"""Inference: pure samplers written against a `Space`, whose vectors never leave their layout."""
