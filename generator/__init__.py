"""The generator: renders, marks, signs, registers, delivers (W1..W9)."""
