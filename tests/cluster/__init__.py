"""A suite that installs the chart into a real Kubernetes cluster: `make test-kubernetes`.

`agents`, `model_server` and `temporal_server` run in the cluster, in the image of `Dockerfile`. Everything
else runs beside kubectl. deploy/kubernetes/README.md shows how to start it.
"""
