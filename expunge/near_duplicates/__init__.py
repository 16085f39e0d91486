"""Copies of a picture that are not the same bytes: cropped, rescaled, re-encoded, recoloured, mirrored."""
