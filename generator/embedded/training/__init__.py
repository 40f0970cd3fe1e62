"""How the bundled model was made: scenes, captions, training, export, evaluation."""
