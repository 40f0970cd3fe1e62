"""What finds a picture again when its marks are gone."""
