"""Files of images and transforms, read and written."""
