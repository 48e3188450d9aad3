"""The running batch on one GPU: steps of static shape as CUDA graphs, noise and draws on the device."""
