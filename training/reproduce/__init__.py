"""`nalu reproduce`: the experiments of the NALU paper, its numbers beside ours."""
