"""Labelled data: reading and writing the formats of annotation tools and NER datasets."""
