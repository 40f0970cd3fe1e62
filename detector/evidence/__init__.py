"""Evidence sources, one file each."""
