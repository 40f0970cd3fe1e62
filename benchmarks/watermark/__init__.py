"""What the marks withstand: robustness, false positives and attacks; one command each."""
