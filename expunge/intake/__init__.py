"""Where requests come in: submissions of other systems, the clerk's desk, the preview."""
