"""The napari widgets; the only part of the package that knows napari and Qt."""
