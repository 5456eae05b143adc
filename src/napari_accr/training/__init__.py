"""Training of models: pairs to patches, patches to weights."""
