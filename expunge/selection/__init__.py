"""From selectors to the forget set, and from the forget set to its neighbours."""
