"""Kinds of evaluation, a folder each: the section of a recipe, and all that the kind brings."""
