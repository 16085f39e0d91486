"""The corpus: samples, the catalog that keeps them, and the sources that they come from."""
