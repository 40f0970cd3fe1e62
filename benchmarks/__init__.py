"""Every number in the documentation comes from here; one command each, results committed."""
