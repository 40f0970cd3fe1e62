"""C2PA manifests: claims, signing, reading, trust, keys."""
