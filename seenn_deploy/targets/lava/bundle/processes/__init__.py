"""Lava Processes and their ProcessModels, nothing else.

Lava's compiler executes every file of this folder, often, when it looks for the model of a
Process: nothing here may have a side effect when it is imported. ``X.py`` holds a Process,
``X_models.py`` its two models, made as ``models.py`` says.
"""
