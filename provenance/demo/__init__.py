"""The demonstration: generate, mark, sign, register, attack, find again."""
