"""The Inspect widget: how good a registration is, seen and measured."""
