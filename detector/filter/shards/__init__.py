"""How samples are read and kept, one file a layout."""
