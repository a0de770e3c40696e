"""Measures of extracted entities against labelled data."""
