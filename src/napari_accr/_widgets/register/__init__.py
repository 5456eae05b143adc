"""The Register widget: lays one image layer on another."""
