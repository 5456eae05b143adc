"""Registration of microscopy images across modalities."""
