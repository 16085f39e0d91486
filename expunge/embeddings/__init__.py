"""What a model makes of the catalog: the embedding store, its indexes, search."""
