"""The embedded SageMaker: control plane, runtime and model containers on the loopback."""
