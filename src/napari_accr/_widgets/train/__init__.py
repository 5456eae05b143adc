"""The Train widget: trains a model in a process of its own."""
