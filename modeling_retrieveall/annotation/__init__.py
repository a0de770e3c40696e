"""Annotation of a corpus: files in, files out."""
