"""What a model is: its contract with the service, its units, networks and preprocessing.

Importing this package loads no torch; `models.contract` never does, `models.units` and `models.networks` do.
"""
