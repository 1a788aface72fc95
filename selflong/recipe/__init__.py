"""The typed recipe (the science) and site (the machines), and every message about them: a file a part."""
