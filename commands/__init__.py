"""The commands: one file each, with its options in conf/NAME.yaml. The only floor that sees a Hydra config."""
