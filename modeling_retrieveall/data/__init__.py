"""Labelled data: reading and writing of the formats that annotation tools and datasets use."""
