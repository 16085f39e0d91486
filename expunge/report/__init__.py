"""What a person reads about a release: figures and one self-contained page."""
