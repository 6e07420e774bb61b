"""MLflow's scoring client: mlflow_scoring.py REPOSITORY and any MODEL=HOST:PORT."""

import sys

import numpy as np
import pandas as pd
from mlflow.pyfunc.scoring_server.client import ScoringServerClient
from starters import read_starters, tell


def main() -> None:
    """Ask every model with a data frame, and those of numbers alone with an array."""
    starters = {starter.name: starter for starter in read_starters(sys.argv[1])}
    n_calls = 0
    for told in sys.argv[2:]:
        name, _, where = told.partition("=")
        starter = starters[name]
        host, _, port = where.partition(":")
        server = ScoringServerClient(host, int(port))
        server.ping()
        assert server.get_version()
        answer = server.invoke(pd.DataFrame(starter.rows)).get_predictions()
        starter.check(answer[starter.outputs].to_numpy(), "data frame")
        n_calls += 3
        if set(starter.tensors) == {"numeric"}:
            answer = server.invoke(np.asarray(starter.tensors["numeric"])).get_predictions()
            starter.check(answer.to_numpy(), "array")
            n_calls += 1
    tell("MLflow's scoring client", n_calls)


main()
