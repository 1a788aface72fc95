"""The documents of retrieval and of long outputs: collected, filtered, drawn and counted."""
