"""The search for bit plans: a budget and what rounding each tensor costs come in; the Pareto front of plans goes out.

`optimum` solves for additive costs, `trial` measures whole plans, `by_size` and `by_time` put both together.
"""
