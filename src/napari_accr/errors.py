"""Everything that can go wrong for a user, as one tree.

::

    AccrError
    ├── ImageFileError        an image file is missing, truncated or not an image
    ├── TransformFileError    a transform file is malformed or of another dimension
    ├── ManifestError         a list of image pairs is malformed
    ├── ModelError            a model is missing, damaged or of another make
    ├── OutputError           a result cannot be written where it was asked for
    ├── WorkerError           a worker of a cluster died
    ├── SettingsError         a setting is unknown or out of its range
    ├── IncompatibleImages    two images, masks or landmarks cannot be used together
    └── TransformError        a transform cannot be inverted, composed or exported

Each message is one line that names what is wrong and what to do about it.
"""

from __future__ import annotations


class AccrError(Exception):
    """Base of all errors that a user can mend."""


class ImageFileError(AccrError):
    """An image file is missing, truncated, too large or not an image."""


class TransformFileError(AccrError):
    """A transform file is missing, malformed or of another dimension."""


class ManifestError(AccrError):
    """A manifest of image pairs is missing or malformed."""


class ModelError(AccrError):
    """A file of a trained model is missing, damaged or of another make."""


class OutputError(AccrError):
    """A result cannot be written where it was asked for."""


class WorkerError(AccrError):
    """A worker of a cluster died, again and again."""


class SettingsError(AccrError, ValueError):
    """A setting is unknown or out of its range."""


class IncompatibleImages(AccrError, ValueError):
    """Images, masks or landmarks cannot be used together."""


class TransformError(AccrError, ValueError):
    """A transform cannot be inverted, composed or exported."""
