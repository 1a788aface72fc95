"""RULER's needle tasks with several questions over each haystack."""
