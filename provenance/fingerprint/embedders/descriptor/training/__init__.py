"""How the descriptor was trained; needs torch. Nothing in use imports it."""
