"""Labelled data in the formats that people and their tools have, read and written."""
