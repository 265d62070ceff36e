"""Readers of protocols' files: pairs in every form that people have them, templates, videos, MegaFace's lists. Files
come in; indices into a list of image paths go out.
"""
