"""Annotation of corpora: files, data sets of Hugging Face and Ray clusters."""
