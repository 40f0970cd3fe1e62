"""The kernel: words, rules and marks. Imports no other package of Countermark."""
