"""Models built so that forgetting is exact: what they are afterwards is what they would be without the data."""
