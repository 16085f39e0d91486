"""The ground: settings' schema, paths, files, errors, progress, costs."""
