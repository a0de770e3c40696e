"""Annotation of corpora: files, datasets of Hugging Face and Ray clusters."""
