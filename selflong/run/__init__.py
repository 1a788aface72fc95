"""What the Snakefile asks: which files a rule reads, digests of what it depends on, how its job runs.

The recipe file is never an input of a rule. A rule's params carry a digest of the parts of the recipe that
it reads and its stage's version, so that a change of one part runs again what depends on it alone.
"""
