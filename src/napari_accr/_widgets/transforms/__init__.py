"""The Transforms widget: transforms from and to files, and onto layers."""
