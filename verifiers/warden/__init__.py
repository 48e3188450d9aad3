"""The sandbox's outer half, behind `verifiers.sandbox`: starts the jail, hands it jobs, proves its walls."""
