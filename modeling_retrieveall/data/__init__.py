"""Labelled data and texts in the formats that people have, in and out."""
