"""The stages: one object each, with its name, inputs, spec and plan.

`spec(config, inputs)` names the artifact by everything that changes its content; `plan(config,
store, inputs)` says how it is computed, as numbered parts. `base` has what a stage is and what
runs one, `graph` has them all by name. Their order stands in the flows.
"""
