"""The policies that are shipped, as files to read and to copy."""
