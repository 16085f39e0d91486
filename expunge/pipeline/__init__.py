"""The pipeline as text: the `dvc.yaml` of a project and of each release, with the code that every stage depends on."""
