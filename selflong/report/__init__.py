"""Tables, figures, the page and the manifest, drawn from the files that a run left behind."""

VERSION = 8
"""Part of every report rule's digest: raise it when what is drawn from unchanged files changes."""
